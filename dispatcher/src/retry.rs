//! What follows an attempt for each recipient, as pure functions: whether it is done, retried and when, or
//! given up.
//!
//! `unanswered = "retry"` is the default. Submitting an SMS is not idempotent, so one of two mistakes
//! must be chosen: a person who is not reached is worse than one who is reached twice, and the report
//! says so.

use crate::outcome::{NOT_BEGUN, Outcome, Sent};
use jiff::{SignedDuration, Timestamp};
use postern_broker::Topology;
use postern_config::backend::{BackendConfig, send::WhenUncertain};
use postern_shared::{
    error::{Failure, FailureClass},
    message::Outbound,
    value::Span,
};
use std::{sync::Arc, time::Duration};

/// How often one attempt is deferred because the provider asks for time or is still down. After that
/// the attempt counts, so that every message comes to an end. With the longest pause, an hour, these
/// are two days for each attempt.
const MAX_DEFERRED: u32 = 50;
/// The code and the detail of a message that was given up because `expires_at` had passed.
pub(crate) const EXPIRED: (&str, &str) = ("expired", "expires_at passed before the message was sent");

/// When failures are retried: those of a backend, of the webhook or of callbacks.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    delays: Vec<Duration>,
    unanswered: WhenUncertain,
    not_accepted: WhenUncertain,
    topology: Arc<Topology>,
}

/// What becomes of a message for one recipient after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// The provider accepted the message: it is never sent again.
    Sent(Sent),
    /// It is retried, as the next attempt.
    Retry {
        /// How long it waits: one of the topology's delays.
        delay: Duration,
        /// Why the attempt failed.
        failure: Failure,
    },
    /// It is retried, as the same attempt: sending did not begin, or the provider asked for time.
    Deferred {
        /// How long it waits: one of the topology's delays.
        delay: Duration,
        /// How often the provider has deferred this attempt. This time is included unless sending did not
        /// begin.
        times: u32,
        /// Why the attempt is deferred.
        failure: Failure,
    },
    /// It is given up.
    Dead(Failure),
    /// It is given up because `expires_at` has passed, or will have before the next attempt. As far as the
    /// attempts show, the provider does not have it.
    Expired(Option<Failure>),
}

impl Disposition {
    /// Why the message was not sent. `None` if it was, or if it had expired before it was tried.
    pub(crate) fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Sent(_) => None,
            Self::Retry { failure, .. } | Self::Deferred { failure, .. } | Self::Dead(failure) => {
                Some(failure)
            }
            Self::Expired(failure) => failure.as_ref(),
        }
    }

    /// This, for a recipient whom an attempt may have reached: who is given up is not called failed or
    /// expired, since an application may send to them again then.
    pub(crate) fn in_doubt(self) -> Self {
        match self {
            Self::Dead(failure) => Self::Dead(failure.in_doubt()),
            Self::Expired(failure) => {
                let failure = failure.unwrap_or_else(|| Failure::permanent(EXPIRED.0, EXPIRED.1));
                Self::Dead(failure.in_doubt())
            }
            Self::Sent(_) | Self::Retry { .. } | Self::Deferred { .. } => self,
        }
    }

    /// Whether the message had expired before it was tried. A provider's failure may have the same code, but
    /// says how long the attempt took.
    pub(crate) fn was_not_tried(&self) -> bool {
        match self {
            Self::Expired(failure) => failure.is_none(),
            Self::Dead(failure) => failure.code == EXPIRED.0 && failure.duration_ms.is_none(),
            Self::Sent(_) | Self::Retry { .. } | Self::Deferred { .. } => false,
        }
    }
}

impl Schedule {
    /// The schedule of `backend`.
    pub(crate) fn new(backend: &BackendConfig, topology: Arc<Topology>) -> Self {
        let calls = backend.definition.connector.calls();
        Self {
            delays: backend.retry.delays.iter().map(|delay| delay.0).collect(),
            unanswered: calls.unanswered,
            not_accepted: calls.not_accepted,
            topology,
        }
    }

    /// A schedule with `delays` for messages that no backend sends. One that the receiver may already have
    /// is retried.
    pub(crate) fn general(delays: &[Span], topology: Arc<Topology>) -> Self {
        let delays = delays.iter().map(|delay| delay.0).collect();
        let retry = WhenUncertain::Retry;
        Self { delays, unanswered: retry, not_accepted: retry, topology }
    }

    /// The disposition that follows each of `outcomes`, in their order, after the attempt to send
    /// `message`.
    pub(crate) fn dispositions(
        &self,
        message: &Outbound,
        outcomes: Vec<Outcome>,
        now: Timestamp,
    ) -> Vec<Disposition> {
        let disposition = |outcome: Outcome| match outcome {
            Ok(sent) => Disposition::Sent(sent),
            Err(failure) if failure.was_unanswered() => self.after(failure, message, now).in_doubt(),
            Err(failure) => self.after(failure, message, now),
        };
        outcomes.into_iter().map(disposition).collect()
    }

    fn after(&self, failure: Failure, message: &Outbound, now: Timestamp) -> Disposition {
        let deferred = self.deferral(&failure, message.deferred);
        let delay = deferred.map(|(delay, _)| delay).or_else(|| self.delay(&failure, message.attempt));
        let Some(delay) = delay else {
            return Disposition::Dead(failure);
        };
        let next = SignedDuration::try_from(delay).ok().and_then(|delay| now.checked_add(delay).ok());
        if message.expires_at.is_some_and(|at| next.is_none_or(|next| at <= next)) {
            return Disposition::Expired(Some(failure));
        }
        match deferred {
            Some((_, times)) => Disposition::Deferred { delay, times, failure },
            None => Disposition::Retry { delay, failure },
        }
    }

    /// How long to wait before the same attempt is made again, and how often the provider will have
    /// deferred it then: once more than `times`, or still `times` if sending did not begin. `None` for a
    /// failure that counts.
    fn deferral(&self, failure: &Failure, times: u32) -> Option<(Duration, u32)> {
        if failure.code == NOT_BEGUN {
            return Some((self.topology.delay(Duration::ZERO), times));
        }
        let asked = match failure.class {
            // It may have been sent, so each further time counts.
            FailureClass::Transient if failure.was_not_accepted() || failure.was_unanswered() => return None,
            FailureClass::Throttled | FailureClass::Transient => failure.retry_after?,
            FailureClass::Permanent | FailureClass::Config | FailureClass::Unknown => return None,
        };
        (times < MAX_DEFERRED).then(|| (self.topology.delay(asked), times + 1))
    }

    /// How long a message waited for attempt number `attempt` if that is the last one, else `None`.
    pub(crate) fn last_wait(&self, attempt: u32) -> Option<Duration> {
        let is_last = usize::try_from(attempt).is_ok_and(|attempt| attempt > self.delays.len());
        is_last.then(|| self.delays.last().copied().unwrap_or_default())
    }

    /// `pause`, rounded up to a delay that has a wait queue (at most the longest of them).
    pub(crate) fn put_off(&self, pause: Duration) -> Duration {
        self.topology.delay(pause)
    }

    /// How long to wait after the failure of attempt number `attempt`: what the schedule says, or
    /// what the provider asked for if that is longer, rounded up to a delay that has a wait queue (at
    /// most the longest of them). `None` if the message is given up.
    ///
    /// Failures of class `config` are retried like the others: a password or a URL can be corrected while
    /// they wait.
    pub(crate) fn delay(&self, failure: &Failure, attempt: u32) -> Option<Duration> {
        match failure.class {
            FailureClass::Permanent => return None,
            _ if failure.was_unanswered() && self.unanswered == WhenUncertain::Fail => return None,
            _ if failure.was_not_accepted() && self.not_accepted == WhenUncertain::Fail => return None,
            _ => {}
        }
        let scheduled = *self.delays.get(usize::try_from(attempt).ok()?.checked_sub(1)?)?;
        Some(self.topology.delay(failure.retry_after.map_or(scheduled, |asked| asked.max(scheduled))))
    }
}

#[cfg(test)]
mod tests;
