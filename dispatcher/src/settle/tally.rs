//! Counts and logs the result of an attempt.

use crate::metrics::{OutcomeLabel, SendingMetrics};
use crate::{attempt::Attempt, retry::Disposition};
use jiff::Timestamp;
use postern_broker::Envelope;
use postern_service::traces::TraceSpan;
use postern_shared::error::{Failure, FailureClass};

/// The greatest age of a message that is measured, in seconds: a year. An application may give any time.
const OLDEST: f64 = 366.0 * 24.0 * 3_600.0;

/// The number of recipients for each outcome.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    sent: usize,
    retrying: usize,
    failed: usize,
    expired: usize,
}

impl Tally {
    fn of(attempt: &Attempt<'_>) -> Self {
        attempt.dispositions().fold(Self::default(), |mut tally, disposition| {
            match disposition {
                Disposition::Sent(_) => tally.sent += 1,
                Disposition::Retry { .. } | Disposition::Deferred { .. } => tally.retrying += 1,
                Disposition::Dead(_) => tally.failed += 1,
                Disposition::Expired(_) => tally.expired += 1,
            }
            tally
        })
    }

    fn message(self) -> OutcomeLabel {
        match self {
            Self { retrying: 1.., .. } => OutcomeLabel::Retrying,
            Self { failed: 1.., .. } => OutcomeLabel::Failed,
            Self { expired: 1.., .. } => OutcomeLabel::Expired,
            _ => OutcomeLabel::Sent,
        }
    }

    /// The text of the log line about an attempt in which a recipient failed, in the first place with a failure
    /// of `class`.
    fn unsent(self, class: FailureClass) -> String {
        let what = match class {
            _ if self.sent > 0 => "sent to some recipients, others",
            FailureClass::Unknown => "possibly sent,",
            _ => "not sent,",
        };
        let then = match self {
            Self { retrying: 1.., .. } => "retrying",
            Self { failed: 1.., .. } => "dead-lettered",
            _ => "expired",
        };
        format!("{what} {then}")
    }
}

fn counted(disposition: &Disposition) -> OutcomeLabel {
    match disposition {
        Disposition::Sent(_) => OutcomeLabel::Sent,
        Disposition::Retry { .. } | Disposition::Deferred { .. } => OutcomeLabel::Retrying,
        Disposition::Dead(_) => OutcomeLabel::Failed,
        Disposition::Expired(_) => OutcomeLabel::Expired,
    }
}

/// Counts the message, its recipients and their segments.
pub(super) fn count(metrics: &SendingMetrics, attempt: &Attempt<'_>, now: Timestamp) {
    let tally = Tally::of(attempt);
    for (outcome, number) in [
        (OutcomeLabel::Sent, tally.sent),
        (OutcomeLabel::Retrying, tally.retrying),
        (OutcomeLabel::Failed, tally.failed),
        (OutcomeLabel::Expired, tally.expired),
    ] {
        if number > 0 {
            metrics.recipients(outcome, number);
        }
    }
    metrics.message(tally.message());
    if tally.sent > 0 {
        let age = now.duration_since(attempt.message.created_at).as_secs_f64();
        metrics.message_age.observe(age.clamp(0.0, OLDEST));
    }
    for result in &attempt.results {
        let disposition = &result.disposition;
        if let Disposition::Retry { failure, .. } | Disposition::Deferred { failure, .. } = disposition {
            metrics.retries(failure.class, 1);
        }
        if let Some((sent, left)) = attempt.segments(result) {
            metrics.segments(OutcomeLabel::Sent, sent);
            metrics.segments(counted(disposition), left);
        }
    }
}

/// Notes in `span` the result of `attempt`. The span counts as failed if any recipient failed.
pub(crate) fn note(attempt: &Attempt<'_>, span: &mut TraceSpan) {
    span.note_outcome(Tally::of(attempt).message().as_str());
    if let Some(failure) = attempt.dispositions().find_map(Disposition::failure) {
        span.note_failure(failure);
    }
}

/// Writes one line for each attempt, which never has an identity, a text or the provider's answer.
pub(crate) fn log(original: &Envelope, attempt: &Attempt<'_>) {
    let (message, tally) = (attempt.message, Tally::of(attempt));
    let trace = original.trace_id();
    let failure = attempt.dispositions().find_map(Disposition::failure);
    let (backend, message_id, attempt) = (message.backend.as_str(), message.id, message.attempt);
    let Tally { sent, retrying, failed, expired } = tally;
    match failure {
        None if expired > 0 => {
            tracing::warn!(backend, %message_id, attempt, expired, trace_id = trace, "expired, not sent");
        }
        None => tracing::info!(backend, %message_id, attempt, sent, trace_id = trace, "sent"),
        Some(Failure { class, code, unreached, .. }) => {
            let host = unreached.as_ref().and_then(|unreached| unreached.host.as_deref());
            let reason = unreached.as_ref().map(|unreached| unreached.reason);
            tracing::warn!(
                backend, %message_id, attempt, sent, retrying, failed, expired,
                class = class.as_str(), code = &**code, host, reason, trace_id = trace, "{}", tally.unsent(*class)
            );
        }
    }
}
