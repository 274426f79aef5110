//! The client's own id of a message: a submission that repeats an earlier one gets the first answer, and
//! is not queued again.

use super::accepted::Accepted;
use crate::{
    auth::Principal,
    dedup::{Claim, Dedup, PublishClaim},
};
use postern_shared::message::MessageId;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// The SHA-256 of what a client says, by which another message under the same key is told.
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

/// The right to accept the message that a client calls by an id of its own. Dropped before the message is
/// stored, it leaves the id unused.
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

    /// The broker has confirmed the message: whoever repeats it gets `accepted`.
    pub(super) fn stored(self, accepted: &Accepted) {
        let Self { claim, fingerprint } = self;
        claim.stored(First { fingerprint, accepted: accepted.clone() });
    }
}

/// Why a client's id of a message cannot be claimed.
#[derive(Debug)]
pub(crate) enum Taken {
    /// The same submission was accepted before. This came of it.
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
pub(crate) struct Submissions(Dedup<First>);

impl Submissions {
    /// Remembers for as long as `window`; zero: nothing.
    pub(crate) fn new(window: Duration) -> Self {
        Self(Dedup::new(window))
    }

    /// The same ones, remembered for as long as `window`.
    pub(super) fn within(&self, window: Duration) -> Self {
        Self(self.0.within(window))
    }

    /// Claims the id that `key` of `principal` makes. While another submission under it is being
    /// published, this waits for the end of that.
    pub(super) async fn claim(
        &self,
        principal: Principal<'_>,
        key: &str,
        fingerprint: Fingerprint,
    ) -> Result<SubmissionClaim, Taken> {
        match self.0.claim_in_turn(MessageId::outbound(principal.name(), key)).await {
            Claim::New(claim) => Ok(SubmissionClaim { claim, fingerprint }),
            Claim::Duplicate(first) if first.fingerprint == fingerprint => {
                Err(Taken::Repeated(Box::new(first.accepted)))
            }
            Claim::Duplicate(_) => Err(Taken::Another),
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
