//! What `postern pause`, `resume`, `cancel` and `queue` print for people.

use crate::greeting::count;
use postern_service::control::{Cancellation, Moved, Paused, Purged, QueueList};
use postern_shared::{clock::Written, message::Priority, terminal::plain};
use std::fmt::Write as _;

/// The state of a backend after it was paused or resumed.
pub(super) fn paused(done: &Paused) -> String {
    let Paused { backend, queued, consumers, changed, .. } = done;
    let already = if *changed { "" } else { "already " };
    let wait = |number: u64| {
        let wait = if number == 1 { "waits" } else { "wait" };
        format!("{} {wait}", count(number, "message"))
    };
    let mut text = match (&done.since, &done.by) {
        _ if done.dry_run && *changed => {
            let state = if done.paused { "paused" } else { "resumed" };
            return format!("{backend} would be {state}; {}\n", wait(*queued));
        }
        (Some(since), by) => {
            let by = by.as_deref().map(plain).unwrap_or_default();
            format!("{backend} is {already}paused (since {}, by {by}); {}\n", Written(*since), wait(*queued))
        }
        (None, _) if *changed => format!("{backend} is resumed; {}\n", wait(*queued)),
        (None, _) => format!("{backend} was not paused, nothing changed; {}\n", wait(*queued)),
    };
    if done.paused && *consumers > 0 {
        let _ = writeln!(
            text,
            "dispatchers that still consume from its queues: {consumers}; they may not have received the command yet"
        );
    }
    text
}

/// The result of a cancellation.
pub(super) fn cancelled(done: &Cancellation) -> String {
    let rule = &done.rule;
    let were = were(done.dry_run, done.messages);
    let since = rule.since.map(|since| format!(" from {}", Written(since))).unwrap_or_default();
    let lane = match rule.priority {
        Some(Priority::Normal) => " with normal priority",
        Some(Priority::Bulk) => " with bulk priority",
        None => "",
    };
    let mut text = format!(
        "{} of {} waiting for {}{lane} {were} cancelled, to {}: those created{since} until {}\n",
        done.messages,
        count(done.waiting, "message"),
        rule.backend,
        count(done.recipients, "recipient"),
        Written(rule.until),
    );
    let are = if done.dry_run { "would be" } else { "are" };
    let due = format!("those that match {are} cancelled and reported when they come due");
    let _ = match done.retrying {
        Some(0) => writeln!(text, "none waits for a retry"),
        Some(more) => {
            let wait = if more == 1 { "waits" } else { "wait" };
            writeln!(text, "{more} more {wait} for a retry: {due}")
        }
        None => writeln!(text, "an unknown number may wait for a retry: {due}"),
    };
    let _ = writeln!(
        text,
        "matching messages held by a dispatcher or a spool {are} cancelled when their turn comes"
    );
    text
}

/// A table of all queues.
pub(super) fn queues(list: &QueueList) -> String {
    let widest = list.queues.iter().map(|queue| queue.name.len()).max().unwrap_or_default().max(5);
    let mut text = format!("{:widest$}  {:>9}  {:>9}\n", "QUEUE", "MESSAGES", "CONSUMERS");
    for queue in &list.queues {
        let note = if queue.configured { "" } else { "  not configured" };
        let (name, messages, consumers) = (plain(&queue.name), queue.messages, queue.consumers);
        let _ = writeln!(text, "{name:widest$}  {messages:>9}  {consumers:>9}{note}");
    }
    text
}

/// The result of a move.
pub(super) fn moved(done: &Moved) -> String {
    let mut text = format!(
        "{} of {} waiting for {} {} moved to {}\n",
        done.messages,
        count(done.waiting, "message"),
        done.from,
        were(done.dry_run, done.messages),
        done.to
    );
    if done.leaves_pause && done.messages > 0 {
        let (from, to) = (&done.from, &done.to);
        let _ = if done.dry_run {
            writeln!(text, "{from} is paused and {to} is not: to keep the messages waiting, pause {to} first")
        } else {
            writeln!(text, "{from} is paused and {to} is not: the messages are sent")
        };
    }
    if done.cancelled > 0 {
        let _ = writeln!(
            text,
            "{} had been cancelled before, and {} reported as cancelled instead",
            done.cancelled,
            were(done.dry_run, done.cancelled)
        );
    }
    for stays in &done.stay {
        let id = stays.id.as_deref().map_or_else(|| "a message without an id".to_owned(), plain);
        let _ = writeln!(text, "left in the queue: {id}: {}", plain(&stays.why));
    }
    let from = &done.from;
    let _ = writeln!(
        text,
        "messages that wait for a retry return to the queue of {from} when they are due: move them then"
    );
    text
}

/// The result of a purge.
pub(super) fn purged(done: &Purged) -> String {
    let were = were(done.dry_run, done.messages);
    format!("{} of {} {were} dropped\n", count(done.messages, "message"), plain(&done.name))
}

/// The verb of what was done to `number` things, or would be.
fn were(dry_run: bool, number: u64) -> &'static str {
    match (dry_run, number) {
        (true, _) => "would be",
        (false, 1) => "was",
        (false, _) => "were",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_shared::control::CancelRule;

    #[test]
    fn a_cancellation_says_what_becomes_of_retries() {
        let until = "2026-11-27T08:00:00Z".parse().unwrap();
        let rule = CancelRule { backend: "clinic".parse().unwrap(), since: None, until, priority: None };
        let done =
            Cancellation { rule, dry_run: false, waiting: 0, retrying: None, messages: 0, recipients: 0 };
        for (retrying, dry_run, says) in [
            (Some(0), false, "none waits for a retry\n"),
            (
                Some(1),
                false,
                "1 more waits for a retry: those that match are cancelled and reported when they come due\n",
            ),
            (Some(7), true, "7 more wait for a retry: those that match would be cancelled"),
            (None, false, "an unknown number may wait for a retry: those that match"),
        ] {
            let said = cancelled(&Cancellation { retrying, dry_run, ..done.clone() });
            assert!(said.starts_with("0 of 0 messages waiting for clinic ") && said.contains(says), "{said}");
        }
        let one = cancelled(&Cancellation { waiting: 1, messages: 1, recipients: 1, ..done });
        assert!(
            one.starts_with("1 of 1 message waiting for clinic was cancelled, to 1 recipient: "),
            "{one}"
        );
    }

    #[test]
    fn a_command_that_changes_nothing_says_so() {
        let pause = ("2026-11-27T08:00:00Z".parse().ok(), Some("ops@desk".to_owned()));
        let is_paused = "clinic is paused (since 2026-11-27T08:00:00.000Z, by ops@desk); 1 message waits\n";
        let was_not = "clinic was not paused, nothing changed; 1 message waits\n";
        for (paused_now, changed, dry_run, says) in [
            (true, true, false, is_paused),
            (true, false, false, "clinic is already paused (since"),
            (false, true, false, "clinic is resumed; 1 message waits\n"),
            (false, false, false, was_not),
            (true, true, true, "clinic would be paused; 1 message waits\n"),
            (true, false, true, "clinic is already paused (since"),
            (false, true, true, "clinic would be resumed; 1 message waits\n"),
            (false, false, true, was_not),
        ] {
            let (since, by) = if paused_now { pause.clone() } else { (None, None) };
            let backend = "clinic".parse().unwrap();
            let done =
                Paused { backend, paused: paused_now, changed, since, by, queued: 1, consumers: 0, dry_run };
            assert!(paused(&done).starts_with(says), "{}", paused(&done));
        }
    }
}
