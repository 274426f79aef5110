//! The Prometheus metrics of the dispatcher. Every label comes from a closed set: backends, outcomes,
//! classes, queues; never an identity, a text or an id.

use crate::flow::AllFlowMetrics;
use postern_broker::{QueueName, refused::NO_BACKEND};
use postern_service::metrics::{Metrics, PublishMetrics, SECONDS};
use postern_shared::{error::FailureClass, message::BackendName};
use prometheus::{Error, Histogram, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

/// The upper bounds of a message's age, in seconds: 10 ms to a day.
const AGES: [f64; 14] =
    [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 43_200.0, 86_400.0];

/// What became of a queued message, or of one of its recipients, in one attempt: a label's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum OutcomeLabel {
    /// The provider accepted it (a message: for all its recipients).
    Sent,
    /// It will be retried (a message: for at least one recipient).
    Retrying,
    /// It was dead-lettered (a message: for at least one recipient, and it is not retried for any).
    Failed,
    /// It expired before it was sent.
    Expired,
    /// An operator cancelled it.
    Cancelled,
    /// The body was not a message.
    Malformed,
    /// It was given up and dropped, because too many dead letters wait. Callbacks only.
    Dropped,
}

impl OutcomeLabel {
    /// The outcomes of messages that backends send.
    const OF_SENDING: [Self; 6] =
        [Self::Sent, Self::Retrying, Self::Failed, Self::Expired, Self::Cancelled, Self::Malformed];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Malformed => "malformed",
            Self::Dropped => "dropped",
        }
    }
}

/// The result of one poll: a label's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PollOutcome {
    /// The message has ended, and the provider is not asked again.
    Ended,
    /// Its state has changed, and may change again.
    Changed,
    /// Its state has not changed.
    Unchanged,
    /// The provider did not say; it is asked again.
    Failed,
    /// No delay is left, and the message has not ended.
    GivenUp,
}

impl PollOutcome {
    const ALL: [Self; 5] = [Self::Ended, Self::Changed, Self::Unchanged, Self::Failed, Self::GivenUp];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
            Self::GivenUp => "given_up",
        }
    }
}

/// The metric of one backend's polls.
#[derive(Debug, Clone)]
pub(crate) struct PollMetrics {
    backend: BackendName,
    polls: IntCounterVec,
}

impl PollMetrics {
    pub(crate) fn count(&self, outcome: PollOutcome) {
        self.polls.with_label_values(&[self.backend.as_str(), outcome.as_str()]).inc();
    }
}

/// The metric of dead letters. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetterMetrics {
    letters: IntCounterVec,
    /// The backends that the configuration has, or had before a reload.
    backends: Arc<Mutex<BTreeSet<BackendName>>>,
}

impl DeadLetterMetrics {
    fn new(letters: IntCounterVec) -> Self {
        let metrics = Self { letters, backends: Arc::default() };
        metrics.show(NO_BACKEND);
        metrics
    }

    fn show(&self, backend: &str) {
        for class in FailureClass::ALL {
            self.letters.with_label_values(&[backend, class.as_str()]);
        }
    }

    /// Makes the counters of `backends` appear from the start.
    pub(crate) fn declare_backends<'b>(&self, backends: impl IntoIterator<Item = &'b BackendName>) {
        let mut known = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        for backend in backends {
            self.show(backend.as_str());
            known.insert(backend.clone());
        }
    }

    /// Counts a dead letter of `backend` that is stored; under [`NO_BACKEND`] if `backend` was never
    /// configured, since a message may name any.
    pub(crate) fn count(&self, backend: &BackendName, class: FailureClass) {
        let is_known = self.backends.lock().unwrap_or_else(PoisonError::into_inner).contains(backend);
        let name = if is_known { backend.as_str() } else { NO_BACKEND };
        self.letters.with_label_values(&[name, class.as_str()]).inc();
    }
}

/// The metrics of the dispatcher. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct DispatcherMetrics {
    /// The metrics of publishing, shared by all parts of the process.
    pub(crate) publish: PublishMetrics,
    /// The metrics of flow control.
    pub(crate) flow: AllFlowMetrics,
    /// The metric of dead letters.
    pub(crate) dead_letters: DeadLetterMetrics,
    messages: IntCounterVec,
    recipients: IntCounterVec,
    segments: IntCounterVec,
    send_duration: HistogramVec,
    in_flight: IntGaugeVec,
    retries: IntCounterVec,
    message_age: HistogramVec,
    polls: IntCounterVec,
    deliveries: IntCounterVec,
    delivery_duration: HistogramVec,
    deliveries_in_flight: IntGaugeVec,
}

impl DispatcherMetrics {
    /// Declares the dispatcher's metrics on `metrics`.
    ///
    /// # Errors
    /// Another dispatcher of this process has already declared them.
    pub(crate) fn declare(metrics: &Metrics) -> Result<Self, Error> {
        let by_outcome = &["backend", "outcome"];
        let by_class = &["backend", "class"];
        Ok(Self {
            publish: metrics.publish().clone(),
            flow: AllFlowMetrics::declare(metrics)?,
            messages: metrics.counter(
                "dispatch_messages_total",
                "Messages that were taken from the queues and settled, by outcome",
                by_outcome,
            )?,
            recipients: metrics.counter(
                "dispatch_recipients_total",
                "Recipients of the messages that were taken from the queues and settled, by outcome",
                by_outcome,
            )?,
            segments: metrics.counter(
                "dispatch_segments_total",
                "Text segments for each recipient by outcome, for backends that count segments",
                by_outcome,
            )?,
            send_duration: metrics.histogram(
                "send_duration_seconds",
                "Duration of one call of a backend's sender",
                &["backend"],
                &SECONDS,
            )?,
            in_flight: metrics.gauge("dispatch_in_flight", "Requests in flight", &["backend"])?,
            retries: metrics.counter(
                "retries_total",
                "Recipients queued for a retry, by failure class",
                by_class,
            )?,
            dead_letters: DeadLetterMetrics::new(metrics.counter(
                "dead_letters_total",
                "Dead letters by failure class",
                by_class,
            )?),
            message_age: metrics.histogram(
                "message_age_seconds",
                "Time from a message's creation until it was sent",
                &["backend"],
                &AGES,
            )?,
            polls: metrics.counter(
                "polls_total",
                "Polls of providers for the states of messages, by outcome",
                by_outcome,
            )?,
            deliveries: metrics.counter(
                "application_deliveries_total",
                "Attempts to deliver to the application's webhook, or to call back a client of a \
                 compatibility listener, by outcome",
                &["queue", "outcome"],
            )?,
            delivery_duration: metrics.histogram(
                "application_duration_seconds",
                "Duration of one call of the application's webhook, or of one callback",
                &["queue"],
                &SECONDS,
            )?,
            deliveries_in_flight: metrics.gauge(
                "application_in_flight",
                "Deliveries to the application's webhook, and callbacks, in flight",
                &["queue"],
            )?,
        })
    }

    /// The metrics of one backend's sending, which appear from the start.
    pub(crate) fn sending(&self, backend: &BackendName) -> SendingMetrics {
        let name = backend.as_str();
        for outcome in OutcomeLabel::OF_SENDING {
            self.messages.with_label_values(&[name, outcome.as_str()]);
            self.recipients.with_label_values(&[name, outcome.as_str()]);
        }
        for class in FailureClass::ALL {
            self.retries.with_label_values(&[name, class.as_str()]);
        }
        SendingMetrics {
            backend: backend.clone(),
            send_duration: self.send_duration.with_label_values(&[name]),
            message_age: self.message_age.with_label_values(&[name]),
            in_flight: self.in_flight.with_label_values(&[name]),
            all: self.clone(),
        }
    }

    /// The metric of the polls of `backend`, which appears from the start.
    pub(crate) fn polls(&self, backend: &BackendName) -> PollMetrics {
        for outcome in PollOutcome::ALL {
            self.polls.with_label_values(&[backend.as_str(), outcome.as_str()]);
        }
        PollMetrics { backend: backend.clone(), polls: self.polls.clone() }
    }

    /// The metrics of the webhook or the callbacks that come from `queues`, which appear from the start.
    pub(crate) fn delivery(&self, queues: &[&QueueName]) -> DeliveryMetrics {
        use OutcomeLabel::{Failed, Malformed, Retrying, Sent};
        for queue in queues {
            for outcome in [Sent, Retrying, Failed, Malformed] {
                self.deliveries.with_label_values(&[queue.as_str(), outcome.as_str()]);
            }
            self.delivery_duration.with_label_values(&[queue.as_str()]);
            self.deliveries_in_flight.with_label_values(&[queue.as_str()]);
        }
        DeliveryMetrics(self.clone())
    }
}

/// The metrics of one backend's sending.
#[derive(Debug, Clone)]
pub(crate) struct SendingMetrics {
    backend: BackendName,
    /// Seconds of one call of the sender.
    pub(crate) send_duration: Histogram,
    /// Seconds from created to sent.
    pub(crate) message_age: Histogram,
    /// Requests in flight.
    pub(crate) in_flight: IntGauge,
    all: DispatcherMetrics,
}

impl SendingMetrics {
    /// Counts a queued message by what became of it.
    pub(crate) fn message(&self, outcome: OutcomeLabel) {
        self.all.messages.with_label_values(&[self.backend.as_str(), outcome.as_str()]).inc();
    }

    /// Counts `number` recipients of a message by what became of them.
    pub(crate) fn recipients(&self, outcome: OutcomeLabel, number: usize) {
        let labels = [self.backend.as_str(), outcome.as_str()];
        self.all.recipients.with_label_values(&labels).inc_by(number as u64);
    }

    /// Counts `number` segments by what became of them.
    pub(crate) fn segments(&self, outcome: OutcomeLabel, number: usize) {
        if number > 0 {
            let labels = [self.backend.as_str(), outcome.as_str()];
            self.all.segments.with_label_values(&labels).inc_by(number as u64);
        }
    }

    /// Makes the segments appear from the start, for a backend that counts in segments.
    pub(crate) fn declare_segments(&self) {
        use OutcomeLabel::{Expired, Failed, Retrying, Sent};
        for outcome in [Sent, Retrying, Failed, Expired] {
            self.all.segments.with_label_values(&[self.backend.as_str(), outcome.as_str()]);
        }
    }

    /// Counts `number` recipients that are retried.
    pub(crate) fn retries(&self, class: FailureClass, number: usize) {
        self.all.retries.with_label_values(&[self.backend.as_str(), class.as_str()]).inc_by(number as u64);
    }
}

/// The metrics of the application's webhook, or of the callbacks.
#[derive(Debug, Clone)]
pub(crate) struct DeliveryMetrics(DispatcherMetrics);

impl DeliveryMetrics {
    /// Counts a message from `queue` by what became of it in one attempt.
    pub(crate) fn delivery(&self, queue: &QueueName, outcome: OutcomeLabel) {
        self.0.deliveries.with_label_values(&[queue.as_str(), outcome.as_str()]).inc();
    }

    /// Makes dropped messages from `queue` appear from the start.
    pub(crate) fn declare_dropped(&self, queue: &QueueName) {
        self.0.deliveries.with_label_values(&[queue.as_str(), OutcomeLabel::Dropped.as_str()]);
    }

    /// Observes how many seconds one call took.
    pub(crate) fn duration(&self, queue: &QueueName, seconds: f64) {
        self.0.delivery_duration.with_label_values(&[queue.as_str()]).observe(seconds);
    }

    /// Counts a message from `queue` as in flight until the returned guard is dropped.
    pub(crate) fn begun(&self, queue: &QueueName) -> InFlight {
        let gauge = self.0.deliveries_in_flight.with_label_values(&[queue.as_str()]);
        gauge.inc();
        InFlight(gauge)
    }
}

/// A message in flight: see [`DeliveryMetrics::begun`].
#[derive(Debug)]
pub(crate) struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
