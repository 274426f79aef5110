//! What is published after an attempt: the report, the retries, the dead letter.

use crate::{attempt::Attempt, report::report, retry::Verdict};
use jiff::{Timestamp, Unit};
use postern_broker::{Address, Envelope, QueueName, header};
use postern_shared::{
    error::{Failure, FailureClass},
    message::{Identity, Outbound},
};
use std::{collections::BTreeMap, time::Duration};

/// The code of a dead letter that is no message.
pub(crate) const MALFORMED: &str = "malformed";
/// The longest `x-postern-reason`, in characters.
const MAX_REASON: usize = 500;

/// Everything to publish after `attempt`, whose queue's message was `original`, taken from `queue`:
///
/// - one report,
/// - for each delay, a message with the identities that wait so long: attempt + 1, or the same
///   attempt where it was put off; otherwise as it was,
/// - where identities are given up, one dead letter. Where all of them are, its body is the
///   original one, byte for byte; where only some are, it is the same message with just those, so
///   that whoever sends a dead letter again sends to nobody twice.
///
/// Where identities have parts of the text, retries and dead letters hold what is left of it: one
/// for each number of parts.
pub(crate) fn aftermath(
    original: &Envelope,
    queue: &QueueName,
    attempt: &Attempt<'_>,
    now: Timestamp,
) -> Vec<(Address, Envelope)> {
    let message = attempt.message;
    let report = Envelope::from(&report(attempt, now));
    let mut messages = vec![(Address::Reports(message.backend.clone()), traced(report, original))];
    for ((delay, postponed, parts), identities) in again(attempt) {
        let rest = attempt.rest(parts, identities);
        let (number, postponed) = match postponed {
            None => (message.attempt.saturating_add(1), 0),
            Some(postponed) => (message.attempt, postponed),
        };
        let retry = Outbound { attempt: number, postponed, ..rest };
        let envelope = Envelope { headers: original.own_headers(), ..Envelope::from(&retry) };
        messages.push((Address::Later { queue: queue.clone(), delay }, envelope));
    }
    messages.extend(
        dead(attempt).iter().filter_map(|(parts, dead)| letter(original, queue, attempt, *parts, dead)),
    );
    messages
}

/// Those who are tried again, by how long they wait, how often the same attempt was put off, and how
/// many parts they have of this one.
fn again(attempt: &Attempt<'_>) -> BTreeMap<(Duration, Option<u32>, usize), Vec<Identity>> {
    let mut waiting: BTreeMap<_, Vec<Identity>> = BTreeMap::new();
    for (identity, fate) in attempt.each() {
        let (delay, postponed) = match fate.verdict {
            Verdict::Again { delay, .. } => (delay, None),
            Verdict::Postponed { delay, times, .. } => (delay, Some(times)),
            _ => continue,
        };
        waiting.entry((delay, postponed, fate.before.len())).or_default().push(identity.clone());
    }
    waiting
}

/// Those who are given up, by the number of parts that they have of this attempt.
fn dead<'a>(attempt: &'a Attempt<'_>) -> BTreeMap<usize, Dead<'a>> {
    let mut dead: BTreeMap<_, Dead<'_>> = BTreeMap::new();
    for (identity, fate) in attempt.each() {
        if matches!(fate.verdict, Verdict::Dead(_) | Verdict::Expired(_)) {
            let dead = dead.entry(fate.before.len()).or_default();
            dead.identities.push(identity.clone());
            dead.verdicts.push(&fate.verdict);
        }
    }
    dead
}

/// Who is given up, and why each of them.
#[derive(Default)]
struct Dead<'a> {
    identities: Vec<Identity>,
    verdicts: Vec<&'a Verdict>,
}

fn letter(
    original: &Envelope,
    queue: &QueueName,
    attempt: &Attempt<'_>,
    parts: usize,
    dead: &Dead<'_>,
) -> Option<(Address, Envelope)> {
    let message = attempt.message;
    let (class, code, reason) = why_dead(&dead.verdicts)?;
    let mut envelope = if parts == 0 && dead.identities.len() == message.identities.len() {
        original.clone()
    } else {
        let rest = attempt.rest(parts, dead.identities.clone());
        Envelope { headers: original.headers.clone(), ..Envelope::from(&rest) }
    };
    // The id that was assigned on reading, where the application gave none.
    envelope.message_id.get_or_insert_with(|| message.id.to_string());
    let before = attempt.verdicts().all(|verdict| matches!(verdict, Verdict::Expired(None)));
    let attempts = i64::from(message.attempt) - i64::from(before);
    let envelope = marked(envelope, queue, (class, code), &reason, attempts);
    Some((Address::Dead(message.backend.clone()), envelope))
}

/// `original` as a dead letter, with why, where and when it died after so many attempts.
pub(crate) fn marked(
    original: Envelope,
    queue: &QueueName,
    (class, code): (FailureClass, &str),
    reason: &str,
    attempts: i64,
) -> Envelope {
    let reason = match reason.char_indices().nth(MAX_REASON) {
        Some((end, _)) => format!("{}…", &reason[..end]),
        None => reason.to_owned(),
    };
    original
        .with(header::REASON, reason)
        .with(header::CLASS, class.as_str())
        .with(header::CODE, code)
        .with(header::DEAD_AT, Timestamp::now().round(Unit::Millisecond).unwrap_or_default().to_string())
        .with(header::ATTEMPTS, attempts)
        .with(header::QUEUE, queue.as_str())
}

/// The class of each dead letter that `attempt` leads to.
pub(crate) fn classes_of_dead(attempt: &Attempt<'_>) -> Vec<FailureClass> {
    dead(attempt).values().filter_map(|dead| Some(why_dead(&dead.verdicts)?.0)).collect()
}

/// The class and code of most of those that are given up, and why each of them is; `None` where none
/// is.
fn why_dead<'v>(verdicts: &[&'v Verdict]) -> Option<(FailureClass, &'v str, String)> {
    // In order of appearance; there are few kinds.
    let mut kinds: Vec<(FailureClass, &str, &str, usize)> = Vec::new();
    for verdict in verdicts {
        let (class, code, detail) = match verdict {
            Verdict::Dead(Failure { class, code, detail, .. }) => (*class, &**code, &**detail),
            Verdict::Expired(_) => {
                (FailureClass::Permanent, "expired", "expires_at passed before it was sent")
            }
            _ => continue,
        };
        match kinds.iter_mut().find(|kind| (kind.0, kind.1) == (class, code)) {
            Some(kind) => kind.3 += 1,
            None => kinds.push((class, code, detail, 1)),
        }
    }
    let (class, code, ..) = *kinds.iter().rev().max_by_key(|kind| kind.3)?;
    let one_kind = kinds.len() == 1;
    let text = |(_, code, detail, number): &(FailureClass, &str, &str, usize)| {
        let colon = if detail.is_empty() { "" } else { ": " };
        let count = if one_kind { String::new() } else { format!(" ({number} recipients)") };
        format!("{code}{colon}{detail}{count}")
    };
    Some((class, code, kinds.iter().map(text).collect::<Vec<_>>().join("; ")))
}

/// `envelope` in `original`'s trace.
pub(crate) fn traced(envelope: Envelope, original: &Envelope) -> Envelope {
    match original.text_header(header::TRACEPARENT) {
        Some(trace) => envelope.with(header::TRACEPARENT, trace),
        None => envelope,
    }
}

#[cfg(test)]
mod tests;
