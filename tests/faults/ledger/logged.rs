//! The comparison with the message log: for every message, whether the log says what the ends saw.

use super::{
    Book, Ledger,
    entry::{Entry, Fate, Way},
};
use crate::load::number_in;
use serde::Deserialize;
use std::sync::MutexGuard;
use uuid::Uuid;

/// How many problems are reported one by one.
const TOLD: usize = 10;

/// One message, as `postern log export --events` writes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Logged {
    id: Uuid,
    direction: Direction,
    #[serde(default)]
    text: Option<String>,
    recipients: Vec<Recipient>,
    events: Vec<Event>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Inbound,
    Outbound,
}

#[derive(Debug, Deserialize)]
struct Recipient {
    state: String,
}

#[derive(Debug, Deserialize)]
struct Event {
    event: String,
    #[serde(default)]
    code: Option<String>,
}

impl Logged {
    fn events(&self, name: &str) -> usize {
        self.events.iter().filter(|event| event.event == name).count()
    }

    fn is_cancelled(&self) -> bool {
        self.events.iter().any(|event| event.code.as_deref() == Some("cancelled"))
    }
}

/// The result of the comparison.
#[derive(Debug, Clone, Default)]
pub(crate) struct Audit {
    /// How many messages the log holds.
    pub(crate) messages: usize,
    /// Messages in the log that nobody confirmed and that did not come out: a broker went away after it had
    /// stored them for the log and before it stored them for their queue.
    pub(crate) unconfirmed: usize,
    /// Messages that the log and the ledger disagree about.
    pub(crate) differing: usize,
    /// The first of the differences.
    pub(crate) problems: Vec<String>,
}

impl Audit {
    fn differs(&mut self, problem: String) {
        self.differing += 1;
        if self.problems.len() < TOLD {
            self.problems.push(problem);
        }
    }
}

/// The comparison, message by message.
#[derive(Debug)]
pub(crate) struct Auditor<'l> {
    book: MutexGuard<'l, Book>,
    /// Whether the application `echo` answers: then every message is first received and then sent.
    echoed: bool,
    /// For each message, whether the log has it as a received one, and as one to send.
    seen: Vec<[bool; 2]>,
    audit: Audit,
}

impl Ledger {
    /// Begins to compare. The ledger is locked until the auditor is dropped.
    pub(crate) fn auditor(&self, echoed: bool) -> Auditor<'_> {
        let book = self.book();
        let seen = vec![[false; 2]; book.entries.len()];
        Auditor { book, echoed, seen, audit: Audit::default() }
    }
}

impl Auditor<'_> {
    /// Compares one message of the log.
    pub(crate) fn compare(&mut self, logged: &Logged) {
        self.audit.messages += 1;
        let known = self.book.numbers.get(&logged.id).map(|number| *number as usize);
        let number = known.or_else(|| logged.text.as_deref().and_then(number_in));
        let Some((number, entry)) = number.and_then(|number| Some((number, self.book.entries.get(number)?)))
        else {
            return self.audit.differs(format!("nobody posted the logged message {}", logged.id));
        };
        let seen = &mut self.seen[number][logged.direction as usize];
        if std::mem::replace(seen, true) {
            return self.audit.differs(format!("message {number} is in the log twice"));
        }
        if entry.ends == 0 && !entry.accepted {
            // A cancelled message whose sender got no answer has an id that nobody knew.
            self.audit.unconfirmed += usize::from(!logged.is_cancelled());
            return;
        }
        if let Some(problem) = difference(number, entry, logged, self.echoed) {
            self.audit.differs(format!("message {number}: {problem}: {logged:?}, {entry:?}"));
        }
    }

    /// Looks for messages that are missing in the log.
    pub(crate) fn finish(mut self) -> Audit {
        for (number, (entry, seen)) in self.book.entries.iter().zip(&self.seen).enumerate() {
            if entry.ends == 0 && !entry.accepted {
                continue;
            }
            let expected = match entry.way {
                Way::Received => [true, self.echoed],
                Way::Submitted => [false, true],
            };
            if *seen != expected {
                self.audit.differs(format!("message {number} is in the log as {seen:?}: {entry:?}"));
            }
        }
        self.audit
    }
}

/// What the log says about a message and its ends did not see.
fn difference(number: usize, entry: &Entry, logged: &Logged, echoed: bool) -> Option<String> {
    let (fate, ends) = (Fate::of(number), usize::from(entry.ends));
    let inbound = logged.direction == Direction::Inbound;
    let answered = inbound && echoed;
    // The answer's recipient is the sender, so each has exactly one.
    let [recipient] = &logged.recipients[..] else { return Some("recipients".to_owned()) };
    let states: &[&str] = match (inbound, fate) {
        _ if answered => &["received"],
        (true, Fate::Refused) => &["received"],
        (true, _) => &["forwarded"],
        // Unknown if an attempt was not answered.
        (false, Fate::Refused) => &["failed", "unknown"],
        (false, _) if entry.cancelled => &["failed", "unknown"],
        (false, _) => &["sent"],
    };
    if !states.contains(&recipient.state.as_str()) {
        return Some(format!("{} in the log instead of {}", recipient.state, states.join(" or ")));
    }
    // The answer of `echo` came out under its own id.
    if !answered && entry.id.is_some_and(|id| id != logged.id) {
        return Some("another id in the log".to_owned());
    }
    // Once for each time it was stored: a sender that got no answer repeats the message, and `echo` answers
    // again after a crash.
    let first = if inbound { "received" } else { "accepted" };
    if !(1..=usize::from(entry.tries).max(ends)).contains(&logged.events(first)) {
        return Some(format!("{first} {} times", logged.events(first)));
    }
    if answered {
        return None;
    }
    if fate == Fate::Refused && !entry.cancelled && logged.events("dead") == 0 {
        return Some("refused, and not dead in the log".to_owned());
    }
    let taken = if inbound { "forwarded" } else { "sent" };
    (logged.events(taken) > ends)
        .then(|| format!("{taken} {} times in the log, and {ends} times at its end", logged.events(taken)))
}
