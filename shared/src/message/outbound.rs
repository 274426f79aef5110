//! A message that an application wants sent.

use super::{BackendName, Identity, Malformed, MessageId, OUTBOUND_V1, bounded};
use crate::{clock, error::Failure};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What an application passes along with a message: `in_response_to`, `external_id`, `from`, and
/// anything that the backend's templates use as `context.*`.
pub type Context = Map<String, Value>;

/// The longest text, in characters. 24 concatenated GSM-7 segments hold 3,672; chat providers accept up
/// to 7,000.
pub const MAX_TEXT_CHARS: usize = 16_384;
/// The most identities in one queued message. The API splits a request into messages with far fewer.
pub const MAX_IDENTITIES: usize = 10_000;
/// The largest context, in bytes of JSON without blanks and needless escapes.
pub const MAX_CONTEXT_BYTES: usize = 65_536;
/// The largest body of a queued message, in bytes. The largest message, with [`MAX_IDENTITIES`] of
/// [`Identity::MAX_CHARS`] four-byte characters each, [`MAX_TEXT_CHARS`] and [`MAX_CONTEXT_BYTES`], takes
/// 10.5 million.
pub const MAX_OUTBOUND_BYTES: usize = 11 * 1024 * 1024;

/// Which of a backend's two queues a message waits in: a one-time code does not wait behind a
/// campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// The queue `postern.outbound.<backend>`.
    #[default]
    Normal,
    /// The queue `postern.outbound.<backend>.bulk`.
    Bulk,
}

/// A message that an application wants sent (`postern.outbound.v1`).
///
/// An application that publishes it needs only `backend`, `identities` and `text`; what is missing
/// is filled in when it is first read.
///
/// ```
/// use postern_shared::message::{Outbound, Priority};
///
/// let body = br#"{"backend": "clinic", "identities": ["+15551234567"], "text": "pong"}"#;
/// let message = Outbound::from_json(body).unwrap();
/// assert_eq!((message.attempt, message.priority), (1, Priority::Normal));
///
/// let nobody = br#"{"backend": "clinic", "identities": [], "text": "pong"}"#;
/// let why = Outbound::from_json(nobody).unwrap_err().to_string();
/// assert!(why.contains("identities"), "{why}");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outbound {
    /// The message's id, which every report about it has.
    #[serde(default)]
    pub id: MessageId,
    /// The backend to send through.
    pub backend: BackendName,
    /// The recipients who still have to get it, in order. A retry holds only those for whom the attempt
    /// failed.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_IDENTITIES>")]
    pub identities: Vec<Identity>,
    /// The text to send. If `parts_sent` is more than 0, it is the rest of the text.
    pub text: String,
    /// Values for the backend's templates, and others that the application wants kept with the message.
    #[serde(default, deserialize_with = "bounded::table::<_, MAX_CONTEXT_BYTES>")]
    pub context: Context,
    /// The lane, and so the queue that it waits in.
    #[serde(default)]
    pub priority: Priority,
    /// When it was accepted. UTC.
    #[serde(default = "clock::now", serialize_with = "clock::serialize")]
    pub created_at: Timestamp,
    /// The time from which on it is not sent any more. UTC.
    #[serde(default, serialize_with = "clock::serialize_option")]
    pub expires_at: Option<Timestamp>,
    /// Which attempt this is, from 1.
    #[serde(default = "first_attempt")]
    pub attempt: u32,
    /// How often this attempt was deferred because the provider asked to wait.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deferred: u32,
    /// How many parts of a split text all of `identities` already have.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub parts_sent: u32,
    /// Whether an earlier attempt to send this text was not answered, so that the provider may have it for
    /// all of `identities`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub maybe_sent: bool,
}

fn first_attempt() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Outbound {
    /// Reads the body of a queue's message, and no more of it than a message may hold.
    ///
    /// # Errors
    /// [`Malformed`] with the field at fault: not JSON, a missing field, an invalid name, no
    /// identity, more than a limit allows.
    pub fn from_json(body: &[u8]) -> Result<Self, Malformed> {
        if body.len() > MAX_OUTBOUND_BYTES {
            let why = format!("a body of {} bytes; at most {MAX_OUTBOUND_BYTES} are accepted", body.len());
            return Err(Malformed { kind: OUTBOUND_V1, why });
        }
        let message: Self = super::json::read_json(OUTBOUND_V1, body)?;
        message.check().map_err(|why| Malformed { kind: OUTBOUND_V1, why })?;
        Ok(message)
    }

    /// The body for the queue.
    pub fn to_json(&self) -> Vec<u8> {
        super::json::write_json(self)
    }

    fn check(&self) -> Result<(), String> {
        match () {
            () if self.identities.is_empty() => Err("identities: at least one is needed".into()),
            () if self.text.chars().count() > MAX_TEXT_CHARS => {
                Err(format!("text: at most {MAX_TEXT_CHARS} characters are accepted"))
            }
            () if self.text.contains('\0') => Err("text: null characters are not allowed".into()),
            () if self.attempt == 0 => Err("attempt: must be at least 1".into()),
            () => Ok(()),
        }
    }

    /// Why this message is given up because of `failure`: if an earlier attempt was not answered, nobody knows
    /// whether the provider has it.
    pub fn given_up(&self, failure: Failure) -> Failure {
        if self.maybe_sent { failure.in_doubt() } else { failure }
    }

    /// Whether `expires_at` has passed at `now`.
    pub fn expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_fields_are_enough() {
        let message = Outbound::from_json(br#"{"backend":"demo","identities":["1"],"text":"pong"}"#).unwrap();
        assert_eq!((message.attempt, message.parts_sent, message.priority), (1, 0, Priority::Normal));
        assert_eq!(Outbound::from_json(&message.to_json()).unwrap(), message);
    }

    #[test]
    fn the_largest_message_fits() {
        let identity: Identity = "\u{1f4a1}".repeat(Identity::MAX_CHARS).parse().unwrap();
        let mut message = Outbound::from_json(br#"{"backend":"demo","identities":["1"],"text":""}"#).unwrap();
        message.identities = vec![identity; MAX_IDENTITIES];
        message.text = "\u{1}".repeat(MAX_TEXT_CHARS);
        message.context.insert("c".to_owned(), "x".repeat(MAX_CONTEXT_BYTES - 8).into());
        let body = message.to_json();
        assert!(body.len() > 10_400_000, "{}", body.len());
        assert_eq!(Outbound::from_json(&body).unwrap(), message);
    }

    #[test]
    fn what_is_wrong_is_named_and_never_quoted() {
        for (body, named) in [
            (r#"{"backend":"demo","identities":[],"text":"x"}"#, "identities"),
            (r#"{"backend":"De mo","identities":["1"],"text":"x"}"#, "backend"),
            (r#"{"backend":"demo","identities":["  "],"text":"x"}"#, "identities[0]"),
            (r#"{"backend":"demo","identities":["1"]}"#, "text"),
            (r#"{"backend":"demo","identities":["secret-number"],"text":7}"#, "text"),
            (r#"{"id":"secret-number","backend":"demo","identities":["1"],"text":"x"}"#, "id"),
            (r#"{"backend":"demo","identities":["1"],"text":"x","attempt":0}"#, "attempt"),
            ("secret-number", "JSON"),
        ] {
            let why = Outbound::from_json(body.as_bytes()).unwrap_err().to_string();
            assert!(why.contains(named), "{why} should name {named}");
            assert!(!why.contains("secret-number"), "{why}");
        }
    }
}
