//! What follows an attempt, as pure functions: who is done, who is tried again and when, who is
//! given up.

use crate::{
    backends::{Outcome, Sent},
    flow::NOT_BEGUN,
};
use jiff::{SignedDuration, Timestamp};
use postern_broker::Topology;
use postern_config::backend::{BackendConfig, send::Unanswered};
use postern_shared::{
    error::{Failure, FailureClass},
    message::Outbound,
    value::Span,
};
use std::{sync::Arc, time::Duration};

/// One attempt is put off so often because the provider asks for time, or is still down; then it
/// counts, so that no message goes round for ever. With the longest of pauses, an hour, these are two
/// days for each attempt.
const MAX_POSTPONED: u32 = 50;

/// When failures are tried again: a backend's, or the webhook's.
#[derive(Debug, Clone)]
pub(crate) struct Schedule {
    delays: Vec<Duration>,
    unanswered: Unanswered,
    topology: Arc<Topology>,
}

/// What an attempt comes to for one identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The provider took it over: it is never sent again.
    Sent(Sent),
    /// It is tried again after `delay`, one of the topology's.
    Again {
        /// How long it waits.
        delay: Duration,
        /// Why.
        failure: Failure,
    },
    /// It is tried again after `delay`, as the same attempt: it was not begun, or the provider asked
    /// for time.
    Postponed {
        /// How long it waits.
        delay: Duration,
        /// How often the provider has put this attempt off.
        times: u32,
        /// Why.
        failure: Failure,
    },
    /// It is given up.
    Dead(Failure),
    /// It is given up because `expires_at` has passed, or will have before the next attempt.
    Expired(Option<Failure>),
}

impl Schedule {
    /// `backend`'s.
    pub(crate) fn new(backend: &BackendConfig, topology: Arc<Topology>) -> Self {
        Self {
            delays: backend.retry.delays.iter().map(|delay| delay.0).collect(),
            unanswered: backend.definition.send.as_ref().map(|send| send.unanswered).unwrap_or_default(),
            topology,
        }
    }

    /// One of `delays` for whatever is no backend's; what was never answered is tried again.
    pub(crate) fn general(delays: &[Span], topology: Arc<Topology>) -> Self {
        let delays = delays.iter().map(|delay| delay.0).collect();
        Self { delays, unanswered: Unanswered::Retry, topology }
    }

    /// One verdict for each of `outcomes`, in their order, of the attempt that `message` was.
    pub(crate) fn verdicts(
        &self,
        message: &Outbound,
        outcomes: Vec<Outcome>,
        now: Timestamp,
    ) -> Vec<Verdict> {
        let verdict = |outcome| match outcome {
            Ok(sent) => Verdict::Sent(sent),
            Err(failure) => self.after(failure, message, now),
        };
        outcomes.into_iter().map(verdict).collect()
    }

    fn after(&self, failure: Failure, message: &Outbound, now: Timestamp) -> Verdict {
        let put_off = self.put_off(&failure, message.postponed);
        let delay = put_off.map(|(delay, _)| delay).or_else(|| self.delay(&failure, message.attempt));
        let Some(delay) = delay else {
            return Verdict::Dead(failure);
        };
        let next = SignedDuration::try_from(delay).ok().and_then(|delay| now.checked_add(delay).ok());
        if message.expires_at.is_some_and(|at| next.is_none_or(|next| at <= next)) {
            return Verdict::Expired(Some(failure));
        }
        match put_off {
            Some((_, times)) => Verdict::Postponed { delay, times, failure },
            None => Verdict::Again { delay, failure },
        }
    }

    /// How long to wait before the same attempt once more, and how often the provider has put it off
    /// then, where it was put off `times` before; `None` for a failure that counts.
    fn put_off(&self, failure: &Failure, times: u32) -> Option<(Duration, u32)> {
        if failure.code == NOT_BEGUN {
            return Some((self.topology.delay(Duration::ZERO), times));
        }
        let asked = match failure.class {
            FailureClass::Throttled | FailureClass::Transient => failure.retry_after?,
            FailureClass::Permanent | FailureClass::Config | FailureClass::Unknown => return None,
        };
        (times < MAX_POSTPONED).then(|| (self.topology.delay(asked), times + 1))
    }

    /// How long to wait after the failure of attempt number `attempt`: what the schedule says, or
    /// what the provider asked for where that is longer, rounded up to a delay that has a wait
    /// queue (a wish beyond the longest of them: the longest). `None`: it is given up.
    ///
    /// Failures of class `config` are tried again like the rest: a password or a URL can be mended
    /// while they wait.
    pub(crate) fn delay(&self, failure: &Failure, attempt: u32) -> Option<Duration> {
        match failure.class {
            FailureClass::Permanent => return None,
            FailureClass::Unknown if self.unanswered == Unanswered::Fail => return None,
            _ => {}
        }
        let scheduled = *self.delays.get(usize::try_from(attempt).ok()?.checked_sub(1)?)?;
        Some(self.topology.delay(failure.retry_after.map_or(scheduled, |asked| asked.max(scheduled))))
    }
}

#[cfg(test)]
mod tests;
