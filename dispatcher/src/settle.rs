//! Settling an attempt: the report, the retries, the dead letters and the callbacks are published in one
//! confirmed step, and only then is the message acknowledged.
//!
//! A crash between two steps can duplicate a message, but never lose one. A dead letter holds only the
//! recipients who were given up, so redriving it reaches nobody twice.

mod tally;

pub(crate) use tally::log;
#[cfg(feature = "measure")]
pub(crate) use tally::note;

use crate::metrics::{OutcomeLabel, SendingMetrics};
use crate::{
    attempt::{Attempt, Progress},
    dead_letter::{malformed, note_malformed},
    polls::PollSchedule,
    publish::Publisher,
    report::{callbacks, report},
    retry::{Disposition, EXPIRED},
};
use indexmap::IndexMap;
use jiff::Timestamp;
use postern_broker::{
    Address, Delivery, Envelope, QueueName,
    dead_letter::{Cause, dead_letter},
    queued::Queued,
};
use postern_service::{
    control::{Control, cancelled},
    current::Current,
    traces::TraceSpan,
};
use postern_shared::{
    callback::CallbackKeys,
    error::{Failure, FailureClass},
    message::{Identity, Outbound},
};
use std::{collections::BTreeMap, time::Duration};

/// What it takes to settle the messages of one backend.
pub(crate) struct Settling {
    /// The keys that open the callback requests of messages.
    pub(crate) keys: Current<CallbackKeys>,
    pub(crate) publisher: Publisher,
    pub(crate) metrics: SendingMetrics,
    /// Knows which messages operators cancelled.
    pub(crate) control: Control,
    /// When the provider is polled. `None` if it is not.
    pub(crate) polls: Option<PollSchedule>,
}

impl Settling {
    /// Publishes what follows `attempt`, counts and logs it, and acknowledges `delivery`, which came from
    /// `queue`. If the broker was closed before that, `delivery` is requeued. The result is noted in
    /// `span`.
    pub(crate) async fn settle(
        &self,
        delivery: Delivery,
        queue: &QueueName,
        attempt: &Attempt<'_>,
        span: &mut TraceSpan,
    ) {
        let now = Timestamp::now();
        let mut messages = callbacks(&self.keys.get(), &delivery.envelope, attempt, now);
        messages.extend(self.polls.iter().flat_map(|polls| polls.first(&delivery.envelope, attempt, now)));
        // Retries come last: a broker that refuses a message stores none after it, and a retry that is stored
        // twice is sent twice.
        messages.extend(settlement(&delivery.envelope, queue, attempt, now));
        tally::note(attempt, span);
        let scope = span.scope();
        if !self.publisher.publish(messages, &scope).await {
            scope.requeued(queue);
            return delivery.release();
        }
        tally::count(&self.metrics, attempt, now);
        log(&delivery.envelope, attempt);
        delivery.ack();
        scope.acknowledged(queue);
    }

    /// What is to be published for `queued` if an operator cancelled it. `held` is how long this process
    /// has had the message.
    pub(crate) fn cancelled(&self, queued: Queued<'_>, held: Duration) -> Option<Vec<(Address, Envelope)>> {
        let is_cancelled = self.control.cancels(queued, held);
        is_cancelled.then(|| cancelled(queued, &self.keys.get(), Timestamp::now()))
    }

    /// Publishes `cancelled`, counts and logs it, and acknowledges the delivery, which came from the queue
    /// and holds `message`. The result is noted in `span`.
    pub(crate) async fn cancel(
        &self,
        (delivery, queue): (Delivery, &QueueName),
        message: &Outbound,
        cancelled: Vec<(Address, Envelope)>,
        span: &mut TraceSpan,
    ) {
        let trace_id = delivery.envelope.trace_id().map(str::to_owned);
        span.note_outcome(OutcomeLabel::Cancelled.as_str());
        if !self.publisher.settle(delivery, queue, cancelled, &span.scope()).await {
            return;
        }
        self.metrics.message(OutcomeLabel::Cancelled);
        self.metrics.recipients(OutcomeLabel::Cancelled, message.identities.len());
        let (backend, message_id, recipients) =
            (message.backend.as_str(), message.id, message.identities.len());
        tracing::info!(backend, %message_id, recipients, trace_id, "cancelled, not sent");
    }

    /// Dead-letters `delivery`, whose body is not a message for `queue`.
    pub(crate) async fn refuse(
        &self,
        delivery: Delivery,
        queue: &QueueName,
        why: &str,
        span: &mut TraceSpan,
    ) {
        let letter = malformed(&delivery.envelope, queue, why);
        note_malformed(span);
        if self.publisher.settle(delivery, queue, letter, &span.scope()).await {
            self.metrics.message(OutcomeLabel::Malformed);
        }
    }
}

/// What is to be published after `attempt`, whose message was `original` in `queue`:
///
/// - one report,
/// - for the identities that are given up, one dead letter for each combination of number of parts that they
///   got, and whether an attempt was not answered,
/// - for the identities that are retried, one message for each combination of delay, number of deferrals
///   (none for a retry as the next attempt), number of parts that they got, and whether an attempt was not
///   answered. They come last.
///
/// Each holds only those identities and what is left of their text, so that redriving a dead letter reaches
/// nobody twice. If all identities are given up in one dead letter and none got a part, its body is the
/// original one, byte for byte, unless that is wrong about whether an attempt was not answered.
pub(crate) fn settlement(
    original: &Envelope,
    queue: &QueueName,
    attempt: &Attempt<'_>,
    now: Timestamp,
) -> Vec<(Address, Envelope)> {
    let message = attempt.message;
    let report = Envelope::from(&report(attempt, now));
    let mut messages = vec![(Address::Reports(message.backend.clone()), report.in_trace_of(original))];
    messages.extend(
        dead(attempt).iter().filter_map(|(progress, dead)| letter(original, queue, attempt, *progress, dead)),
    );
    for ((delay, deferred, progress), identities) in waiting(attempt) {
        let rest = attempt.rest(progress, identities);
        let (number, deferred) = match deferred {
            None => (message.attempt.saturating_add(1), 0),
            Some(times) => (message.attempt, times),
        };
        let retry = Outbound { attempt: number, deferred, ..rest };
        let envelope = Envelope { headers: original.own_headers(), ..Envelope::from(&retry) };
        messages.push((Address::Later { queue: queue.clone(), delay }, envelope));
    }
    messages
}

/// The identities that are retried, by how long they wait, how often the same attempt was deferred (`None`:
/// the next attempt), and how far this attempt came for them.
fn waiting(attempt: &Attempt<'_>) -> BTreeMap<(Duration, Option<u32>, Progress), Vec<Identity>> {
    let mut waiting: BTreeMap<_, Vec<Identity>> = BTreeMap::new();
    for (identity, result) in attempt.each() {
        let (delay, deferred) = match result.disposition {
            Disposition::Retry { delay, .. } => (delay, None),
            Disposition::Deferred { delay, times, .. } => (delay, Some(times)),
            _ => continue,
        };
        let progress = result.progress(attempt.message);
        waiting.entry((delay, deferred, progress)).or_default().push(identity.clone());
    }
    waiting
}

/// The identities that are given up, by how far the attempt came for them.
fn dead<'a>(attempt: &'a Attempt<'_>) -> BTreeMap<Progress, Dead<'a>> {
    let mut dead: BTreeMap<_, Dead<'_>> = BTreeMap::new();
    for (identity, result) in attempt.each() {
        if matches!(result.disposition, Disposition::Dead(_) | Disposition::Expired(_)) {
            let dead = dead.entry(result.progress(attempt.message)).or_default();
            dead.identities.push(identity.clone());
            dead.dispositions.push(&result.disposition);
        }
    }
    dead
}

/// Identities that are given up, and why each of them is.
#[derive(Default)]
struct Dead<'a> {
    identities: Vec<Identity>,
    dispositions: Vec<&'a Disposition>,
}

fn letter(
    original: &Envelope,
    queue: &QueueName,
    attempt: &Attempt<'_>,
    progress: Progress,
    dead: &Dead<'_>,
) -> Option<(Address, Envelope)> {
    let message = attempt.message;
    let (class, code, reason) = why_dead(&dead.dispositions)?;
    let is_unchanged = progress == Progress { parts: 0, maybe_sent: message.maybe_sent };
    let mut envelope = if is_unchanged && dead.identities.len() == message.identities.len() {
        original.clone()
    } else {
        let rest = attempt.rest(progress, dead.identities.clone());
        Envelope { headers: original.headers.clone(), ..Envelope::from(&rest) }
    };
    // If the application gave no id, the one that was assigned on reading.
    envelope.message_id.get_or_insert_with(|| message.id.to_string());
    let not_tried = attempt.dispositions().all(Disposition::was_not_tried);
    let attempts = message.attempt.saturating_sub(u32::from(not_tried));
    let cause = Cause { class, code, reason: &reason, attempts };
    Some((Address::Dead(message.backend.clone()), dead_letter(envelope, queue, cause)))
}

/// The class and the code of most of the identities that are given up, and the reasons of all. `None` if no
/// identity is given up.
fn why_dead<'d>(dispositions: &[&'d Disposition]) -> Option<(FailureClass, &'d str, String)> {
    // In order of appearance. A provider may give a different code for each recipient.
    let mut kinds: IndexMap<(FailureClass, &str), (&str, usize)> = IndexMap::new();
    for disposition in dispositions {
        let (class, code, detail) = match disposition {
            Disposition::Dead(Failure { class, code, detail, .. }) => (*class, &**code, &**detail),
            Disposition::Expired(_) => (FailureClass::Permanent, EXPIRED.0, EXPIRED.1),
            _ => continue,
        };
        kinds.entry((class, code)).or_insert((detail, 0)).1 += 1;
    }
    let (&(class, code), _) = kinds.iter().rev().max_by_key(|(_, (_, number))| *number)?;
    let one_kind = kinds.len() == 1;
    let text = |((_, code), (detail, number)): (&(FailureClass, &str), &(&str, usize))| {
        let colon = if detail.is_empty() { "" } else { ": " };
        let count = if one_kind { String::new() } else { format!(" ({number} recipients)") };
        format!("{code}{colon}{detail}{count}")
    };
    Some((class, code, kinds.iter().map(text).collect::<Vec<_>>().join("; ")))
}

#[cfg(test)]
mod tests;
