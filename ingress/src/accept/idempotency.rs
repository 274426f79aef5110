//! The client's own id of a message: a submission that repeats an earlier one gets the first answer, and
//! is not queued again.
//!
//! This process remembers what it accepted itself. The message log, if there is one, knows what other
//! processes accepted, and this one before its last start: the first answer is published to [`Address::Log`].
//! Only Postern publishes there, so that nobody else can use up a key.

use super::accepted::Accepted;
use crate::{
    auth::Principal,
    dedup::{Claim, Dedup, PublishClaim},
    log_lookup::LogLookup,
    metrics::Lookup,
};
use postern_broker::{Address, Envelope};
use postern_shared::{
    clock,
    event::{Event, EventKind, FirstAnswer},
    message::MessageId,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Duration};

/// The SHA-256 of a client's request. It shows whether a second request under the same key is another
/// message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of a JSON body. White space and the order of an object's members make no
    /// difference.
    pub(crate) fn of(mut body: Value) -> Self {
        body.sort_all_objects();
        Self(Sha256::digest(body.to_string()).into())
    }
}

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The right to accept a message under the client's own id. If it is dropped before the message is stored,
/// the id stays unused.
#[derive(Debug)]
pub(crate) struct SubmissionClaim {
    claim: PublishClaim<First>,
    fingerprint: Fingerprint,
}

impl SubmissionClaim {
    /// The message's id.
    pub(super) fn id(&self) -> MessageId {
        self.claim.id()
    }

    /// The event for the message log from which another process answers a repetition with `accepted`. `by` is
    /// the client's name.
    pub(super) fn event(&self, accepted: &Accepted, by: Option<&str>) -> Option<(Address, Envelope)> {
        let Ok(Value::Object(answer)) = serde_json::to_value(accepted) else { return None };
        let first_answer = Some(FirstAnswer { fingerprint: self.fingerprint.to_string(), answer });
        let by = by.map(str::to_owned);
        let event = Event::new(EventKind::Accepted, accepted.id, accepted.backend.clone());
        Some((Address::Log, Envelope::from(&Event { at: accepted.at, by, first_answer, ..event })))
    }

    /// Records that the broker has confirmed the message: a repetition gets `accepted`.
    pub(super) fn stored(self, accepted: &Accepted) {
        let Self { claim, fingerprint } = self;
        claim.stored(First { fingerprint, accepted: accepted.clone() });
    }
}

/// The reason why a client's id of a message cannot be claimed.
#[derive(Debug)]
pub(crate) enum KeyTaken {
    /// The same submission was accepted before, with this result.
    Repeated(Box<Accepted>),
    /// Another submission was accepted under the id.
    Another,
}

/// What is remembered of a submission that was accepted.
#[derive(Debug, Clone)]
struct First {
    fingerprint: Fingerprint,
    accepted: Accepted,
}

/// The submissions with a client's own id that were accepted within `ingress.dedupe_window`. Clones share
/// them.
#[derive(Debug, Clone)]
pub(crate) struct Submissions {
    window: Duration,
    /// The submissions that this process accepted.
    own: Dedup<First>,
    /// The message log, which knows the submissions of all processes.
    lookup: Arc<LogLookup>,
}

impl Submissions {
    /// Remembers submissions for `window`; zero: not at all. Those of other processes are known as far back
    /// as the log of `lookup` reaches.
    pub(crate) fn new(window: Duration, lookup: Arc<LogLookup>) -> Self {
        Self { window, own: Dedup::new(window), lookup }
    }

    /// The same submissions, remembered for `window`.
    pub(super) fn within(&self, window: Duration) -> Self {
        Self { window, own: self.own.within(window), lookup: Arc::clone(&self.lookup) }
    }

    /// Claims the message id that is made from `principal` and `key`. If this process is just publishing
    /// another submission under that id, this waits until it is done.
    pub(super) async fn claim(
        &self,
        principal: Principal<'_>,
        key: &str,
        fingerprint: Fingerprint,
    ) -> Result<SubmissionClaim, KeyTaken> {
        match self.own.claim_in_turn(MessageId::outbound(principal.name(), key)).await {
            Claim::New(claim) => match self.known(claim.id(), fingerprint).await {
                None => Ok(SubmissionClaim { claim, fingerprint }),
                Some(taken) => Err(taken),
            },
            Claim::Duplicate(first) if first.fingerprint == fingerprint => {
                Err(KeyTaken::Repeated(Box::new(first.accepted)))
            }
            Claim::Duplicate(_) => Err(KeyTaken::Another),
        }
    }

    /// Asks the message log for an earlier submission under `id`. `None` if the log knows none within the
    /// window, or does not answer.
    async fn known(&self, id: MessageId, fingerprint: Fingerprint) -> Option<KeyTaken> {
        if self.window.is_zero() || !self.lookup.has_log() {
            return None;
        }
        let fingerprint = fingerprint.to_string();
        let known = self.lookup.ask(Lookup::Submission, async |log| log.first_answer(id, &fingerprint).await);
        let known = known.await??;
        let accepted: Accepted = serde_json::from_value(Value::Object(known.answer)).ok()?;
        let is_over = clock::now().duration_since(accepted.at).unsigned_abs() >= self.window;
        match known.is_same {
            _ if is_over => None,
            true => Some(KeyTaken::Repeated(Box::new(accepted))),
            false => Some(KeyTaken::Another),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_json_has_the_same_fingerprint_however_it_is_written() {
        let of = |json: &str| Fingerprint::of(serde_json::from_str(json).unwrap());
        let one = of(r#"{"to":"1","context":{"a":1,"b":[1,2]}}"#);
        assert_eq!(of(r#" { "context" : {"b": [1, 2], "a": 1}, "to": "1" }"#), one);
        for other in
            [r#"{"to":"1","context":{"a":1,"b":[2,1]}}"#, r#"{"to":"1","context":{"a":"1","b":[1,2]}}"#]
        {
            assert_ne!(of(other), one, "{other}");
        }
    }
}
