//! The metrics of publishing.

use super::{SECONDS, declare};
use postern_broker::QueueName;
use prometheus::{Error, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How long an operator is told about an outcome that the broker refused.
const REMARKED: Duration = Duration::from_secs(3600);

/// What is stored of a message's outcome that the broker will never accept; the least comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remains {
    /// Nothing.
    Nothing,
    /// A dead letter with the beginning of its body.
    Cut,
    /// All of it: with less around it, in pieces, or as dead letters.
    Smaller,
}

impl Remains {
    const ALL: [Self; 3] = [Self::Nothing, Self::Cut, Self::Smaller];

    fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Cut => "cut",
            Self::Smaller => "smaller",
        }
    }
}

/// How long publishes take and how many fail, for each queue, and which outcomes the broker refused. Clones
/// share them.
#[derive(Debug, Clone)]
pub struct PublishMetrics {
    duration: HistogramVec,
    failures: IntCounterVec,
    refused: IntCounterVec,
    /// When the broker last refused an outcome, and why.
    last_refused: Arc<Mutex<Option<(Instant, String)>>>,
}

impl PublishMetrics {
    pub(super) fn declare(registry: &Registry) -> Result<Self, Error> {
        let help = "Time from a publish to the broker's confirm, or until the message was stored in the \
                    spool";
        let duration = HistogramOpts::new("publish_duration_seconds", help).buckets(SECONDS.to_vec());
        let counter = |name: &str, help: &str, label: &str| {
            declare(registry, IntCounterVec::new(Opts::new(name, help), &[label])?)
        };
        let help = "Publishes that were neither confirmed nor spooled";
        let failures = counter("publish_failures_total", help, "queue")?;
        let help = "Outcomes of messages that the broker will never accept, by what was stored instead";
        Ok(Self {
            duration: declare(registry, HistogramVec::new(duration, &["queue"])?)?,
            failures,
            refused: counter("outcomes_refused_total", help, "stored")?,
            last_refused: Arc::default(),
        })
    }

    /// Makes the metrics of `queue`, which this process publishes to, appear from the start.
    pub fn declare_queue(&self, queue: &QueueName) {
        self.duration.with_label_values(&[queue.as_str()]);
        self.failures.with_label_values(&[queue.as_str()]);
    }

    /// Makes the metrics of outcomes, which this process publishes, appear from the start.
    pub fn declare_outcomes(&self) {
        for remains in Remains::ALL {
            self.refused.with_label_values(&[remains.as_str()]);
        }
    }

    /// Counts a publish to `queue` that took `seconds`, and a failure unless it was `confirmed`.
    pub fn published(&self, queue: &QueueName, confirmed: bool, seconds: f64) {
        self.duration.with_label_values(&[queue.as_str()]).observe(seconds);
        if !confirmed {
            self.failures.with_label_values(&[queue.as_str()]).inc();
        }
    }

    /// Counts an outcome that the broker refused because of `why`; `remains` is what is stored of it.
    pub fn refused(&self, remains: Remains, why: &str) {
        self.refused.with_label_values(&[remains.as_str()]).inc();
        *self.last_refused.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), why.to_owned()));
    }

    /// What an operator should know about outcomes that the broker refused in the last hour.
    pub fn remark(&self) -> Option<String> {
        let last = self.last_refused.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, why) = last.as_ref().filter(|(at, _)| at.elapsed() < REMARKED)?;
        let [nothing, cut, smaller] =
            Remains::ALL.map(|remains| self.refused.with_label_values(&[remains.as_str()]).get());
        let minutes = at.elapsed().as_secs() / 60;
        Some(format!(
            "the broker refused outcomes of messages, the last {minutes} min ago ({why}): {smaller} stored \
             in a smaller form, {cut} dead-lettered with the body cut, {nothing} lost; the log has the \
             details"
        ))
    }
}
