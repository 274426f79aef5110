//! Polls: a provider that sends no reports is asked what became of each message that it accepted.
//!
//! A poll is a message of the queue `postern.polls.<backend>`, published together with the report that the
//! message was sent, and delayed until it is due. One consumer takes each poll, regardless of how many
//! dispatchers there are, and polls survive a restart like any message. They need no message log. The
//! provider's answer is published, with the next poll unless the message has ended, and only then is the
//! poll acknowledged. After a crash in between, the provider is asked once more, and the report may be
//! published twice.

use crate::{
    attempt::Attempt,
    connectors::Backend,
    dead_letter::{malformed, note_malformed, unread},
    metrics::{PollMetrics, PollOutcome},
    outcome::Polled,
    publish::Publisher,
    retry::Disposition,
    worker::{Job, Worker},
};
use async_trait::async_trait;
use jiff::Timestamp;
use postern_broker::{Address, Envelope, QueueName, Topology};
use postern_config::backend::{BackendConfig, poll::PollTable};
use postern_service::{current::Current, metrics::ReportMetrics};
use postern_shared::{
    callback::{self, CallbackKeys},
    clock,
    error::Failure,
    message::{Poll, Priority, Recipient, Report, State},
};
use std::{sync::Arc, time::Duration};

/// When the provider of one backend is asked about its messages.
#[derive(Debug, Clone)]
pub(crate) struct PollSchedule {
    queue: QueueName,
    /// The wait before each poll: delays of the topology.
    delays: Vec<Duration>,
}

impl PollSchedule {
    /// The schedule of `backend`. `None` if it is not polled.
    pub(crate) fn new(backend: &BackendConfig, topology: &Topology) -> Option<Self> {
        let table = backend.definition.poll.as_ref()?;
        let delays = table.delays.iter().map(|delay| topology.delay(delay.0)).collect();
        Some(Self { queue: QueueName::polls(&backend.name), delays })
    }

    /// The queue of the polls.
    pub(crate) fn queue(&self) -> &QueueName {
        &self.queue
    }

    /// `poll` with its delay, or with a longer one if that is shorter than `least`. `None` if no delay is
    /// left.
    fn due(&self, poll: &Poll, least: Duration) -> Option<(Address, Envelope)> {
        let delay = *self.delays.get(usize::try_from(poll.polls).ok()?)?;
        // A pause that the provider asks for is rounded up to one of the delays.
        let delay =
            self.delays.iter().copied().filter(|other| *other >= least).min().unwrap_or(delay).max(delay);
        Some((Address::Later { queue: self.queue.clone(), delay }, Envelope::from(poll)))
    }

    /// The first polls after `attempt`, whose message was `original`: one for each recipient for whom the
    /// provider gave an id.
    pub(crate) fn first(
        &self,
        original: &Envelope,
        attempt: &Attempt<'_>,
        now: Timestamp,
    ) -> Vec<(Address, Envelope)> {
        let message = attempt.message;
        let callback = callback::token(&message.context).map(str::to_owned);
        let polls = attempt.each().filter_map(|(identity, result)| {
            let Disposition::Sent(sent) = &result.disposition else { return None };
            let poll = Poll {
                message_id: message.id,
                backend: message.backend.clone(),
                identity: identity.clone(),
                external_id: sent.external_id.clone()?,
                sent_at: now,
                state: State::Sent,
                polls: 0,
                callback: callback.clone(),
            };
            let (address, envelope) = self.due(&poll, Duration::ZERO)?;
            Some((address, envelope.in_trace_of(original)))
        });
        polls.collect()
    }

    /// What follows the answer `polled` to `poll`: the report, if it says something new, and the next poll.
    fn next(&self, poll: &Poll, polled: Result<Polled, Failure>, now: Timestamp) -> NextPoll {
        let (asked, polled) = match polled {
            Ok(polled) => (None, Some(polled).filter(|polled| polled.state != poll.state)),
            Err(failure) => (Some(failure.retry_after.unwrap_or_default()), None),
        };
        let state = polled.as_ref().map_or(poll.state, |polled| polled.state);
        let report = polled.map(|polled| (report(poll, &polled, now), polled.word));
        if is_final(state) {
            return NextPoll { outcome: PollOutcome::Ended, report, due: None };
        }
        let again = Poll { polls: poll.polls.saturating_add(1), state, ..poll.clone() };
        let due = self.due(&again, asked.unwrap_or_default());
        let outcome = match (&due, asked, &report) {
            (None, ..) => PollOutcome::GivenUp,
            (Some(_), Some(_), _) => PollOutcome::Failed,
            (Some(_), None, Some(_)) => PollOutcome::Changed,
            (Some(_), None, None) => PollOutcome::Unchanged,
        };
        NextPoll { outcome, report, due }
    }
}

/// What follows a poll.
#[derive(Debug)]
struct NextPoll {
    outcome: PollOutcome,
    /// If the provider said something new, the report, and the provider's own word.
    report: Option<(Report, String)>,
    /// The next poll.
    due: Option<(Address, Envelope)>,
}

/// Whether `state` is final.
fn is_final(state: State) -> bool {
    matches!(state, State::Delivered | State::Undelivered | State::Failed | State::Expired)
}

fn report(poll: &Poll, polled: &Polled, now: Timestamp) -> Report {
    Report {
        message_id: poll.message_id,
        backend: poll.backend.clone(),
        attempt: 0,
        at: now,
        recipients: vec![Recipient {
            identity: Some(poll.identity.clone()),
            state: polled.state,
            external_id: Some(poll.external_id.clone()),
            external_ids: Vec::new(),
            segments: None,
            reason: polled.reason.clone(),
            http_status: None,
            duration_ms: None,
        }],
    }
}

/// Asks the provider of one backend about its messages.
pub(crate) struct PollWorker {
    pub(crate) sender: Arc<dyn Backend>,
    pub(crate) schedule: PollSchedule,
    pub(crate) keys: Current<CallbackKeys>,
    pub(crate) publisher: Publisher,
    pub(crate) metrics: PollMetrics,
    pub(crate) reports: ReportMetrics,
}

impl PollWorker {
    /// What is published for `report`: the report, and the callback that the message's client asked for.
    fn messages(&self, poll: &Poll, report: &Report, word: &str) -> Vec<(Address, Envelope)> {
        let reported = (Address::Reports(report.backend.clone()), Envelope::from(report));
        let event = callback::reported(&self.keys.get(), poll.callback.as_deref(), report, word);
        let event = event.map(|event| (Address::Callbacks(event.backend.clone()), Envelope::from(&event)));
        std::iter::once(reported).chain(event).collect()
    }
}

#[async_trait]
impl Worker for PollWorker {
    fn queues(&self) -> Vec<(Priority, QueueName)> {
        vec![(Priority::Normal, self.schedule.queue.clone())]
    }

    async fn work(self: Arc<Self>, Job { delivery, permit, poison, mut span, .. }: Job) {
        let queue = &self.schedule.queue;
        let poll = match Poll::from_json(&delivery.envelope.body) {
            Ok(poll) => poll,
            Err(why) => {
                let letter = malformed(&delivery.envelope, queue, &why.to_string());
                note_malformed(&mut span);
                self.publisher.settle(delivery, queue, letter, &span.scope()).await;
                return;
            }
        };
        span.note_attempt(poll.message_id, poll.polls.saturating_add(1));
        span.note_backend(&poll.backend);
        if let Some(failure) = poison {
            let letter = unread(&delivery.envelope, queue, &failure);
            self.publisher.settle(delivery, queue, letter, &span.scope()).await;
            return;
        }
        let scope = span.scope();
        let asked = tokio::time::timeout(self.sender.deadline(1), self.sender.poll(&scope, &poll)).await;
        let late = || Failure::transient("timeout", "the provider did not answer in time");
        let polled = asked.unwrap_or_else(|_| Err(late()));
        drop(permit);
        let failure = polled.as_ref().err().cloned();
        let NextPoll { outcome, report: reported, due } = self.schedule.next(&poll, polled, clock::now());
        span.note_outcome(outcome.as_str());
        let mut messages: Vec<_> = reported
            .iter()
            .flat_map(|(report, word)| self.messages(&poll, report, word))
            .map(|(address, envelope)| (address, envelope.in_trace_of(&delivery.envelope)))
            .collect();
        messages.extend(due.map(|(address, envelope)| (address, envelope.in_trace_of(&delivery.envelope))));
        let trace_id = delivery.envelope.trace_id().map(str::to_owned);
        if !self.publisher.settle(delivery, queue, messages, &scope).await {
            return;
        }
        self.metrics.count(outcome);
        let state =
            reported.as_ref().and_then(|(report, _)| report.recipients.first()).map(|it| it.state.as_str());
        if let Some((report, _)) = &reported {
            self.reports.count(report);
        }
        let (backend, message_id) = (poll.backend.as_str(), poll.message_id);
        let polls = poll.polls.saturating_add(1);
        match failure {
            None => {
                let outcome = outcome.as_str();
                tracing::info!(backend, %message_id, polls, outcome, state, trace_id, "polled");
            }
            Some(Failure { class, code, unreached, .. }) => {
                let host = unreached.as_ref().and_then(|unreached| unreached.host.as_deref());
                let reason = unreached.as_ref().map(|unreached| unreached.reason);
                tracing::warn!(
                    backend, %message_id, polls, outcome = outcome.as_str(), class = class.as_str(),
                    code = &*code, host, reason, trace_id, "poll failed"
                );
            }
        }
    }
}

/// How many polls of a backend may be in flight.
pub(crate) fn concurrency(backend: &BackendConfig) -> u16 {
    backend.definition.poll.as_ref().map_or(1, |table: &PollTable| table.concurrency)
}

#[cfg(test)]
mod tests;
