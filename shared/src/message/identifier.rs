//! Names and ids: a backend's name, a person's identity, a message's id.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};
use uuid::Uuid;

/// A name or identity that breaks its rule. The error states the rule, never the value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(pub &'static str);

impl InvalidName {
    /// The rules for the names and identities in a message.
    pub(super) const RULES: [Self; 2] = [BackendName::RULE, Identity::RULE];
}

/// The name of a backend: one account at one provider. `a-z 0-9 - _`, 1 to 63 characters.
///
/// It is part of routes, queue names, routing keys and metric labels, hence the narrow alphabet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackendName(Arc<str>);

impl BackendName {
    const RULE: InvalidName =
        InvalidName("a backend's name must have 1 to 63 characters of a-z, 0-9, - and _");

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BackendName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if (1..=63).contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(name.into()))
        } else {
            Err(Self::RULE)
        }
    }
}

impl TryFrom<String> for BackendName {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, InvalidName> {
        name.parse()
    }
}

impl From<BackendName> for String {
    fn from(name: BackendName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A person's address at a provider: a telephone number, a chat id, a user name.
///
/// 1 to 256 characters, not only blanks, no control characters. `Debug` hides it: an identity
/// never reaches a log.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Identity(String);

impl Identity {
    /// The longest identity, in characters.
    pub const MAX_CHARS: usize = 256;
    const RULE: InvalidName = InvalidName(
        "an identity must have 1 to 256 characters, not be blank, and have no control characters",
    );

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ways to write this phone number: its digits after `+`, after `00`, and alone. Empty if it is not a phone
    /// number, which has only digits, hyphens and white space, and may begin with `+`.
    pub fn spellings(&self) -> Vec<Self> {
        let text = self.0.trim();
        let number = text.strip_prefix('+').unwrap_or(text);
        let is_number = number.starts_with(|c: char| c.is_ascii_digit())
            && number.chars().all(|c| c.is_ascii_digit() || c == '-' || c.is_whitespace());
        if !is_number {
            return Vec::new();
        }
        let digits: String = number.chars().filter(char::is_ascii_digit).collect();
        let digits = digits.strip_prefix("00").unwrap_or(&digits);
        ["+", "00", ""].iter().filter_map(|prefix| format!("{prefix}{digits}").parse().ok()).collect()
    }

    /// Whether both are the same phone number, perhaps in different [spellings](Self::spellings).
    pub fn is_same_number(&self, other: &Self) -> bool {
        let spellings = self.spellings();
        !spellings.is_empty() && spellings == other.spellings()
    }
}

impl FromStr for Identity {
    type Err = InvalidName;

    fn from_str(identity: &str) -> Result<Self, InvalidName> {
        Self::try_from(identity.to_owned())
    }
}

impl TryFrom<String> for Identity {
    type Error = InvalidName;

    fn try_from(identity: String) -> Result<Self, InvalidName> {
        let blank = identity.trim().is_empty();
        if blank || identity.chars().count() > Self::MAX_CHARS || identity.chars().any(char::is_control) {
            Err(Self::RULE)
        } else {
            Ok(Self(identity))
        }
    }
}

impl From<Identity> for String {
    fn from(identity: Identity) -> Self {
        identity.0
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Identity(…)")
    }
}

/// A message's id: a UUIDv5 if it is made from what identifies the message, otherwise a UUIDv7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(Uuid);

impl MessageId {
    /// The namespace of the UUIDv5 ids (RFC 9562, 5.5). It must never change: another one makes other ids.
    const NAMESPACE: Uuid = Uuid::from_u128(0x7fd2_0a3b_5c1e_4b0a_9b6e_2f8d_41c7_93ea);

    /// A new id, ordered by time (UUIDv7).
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id of a message with `text` that `identity` sent through `backend`, and that the provider
    /// calls `external_id`. If the provider repeats the message, it has the same id. Another message
    /// under the same `external_id`, because it is forged or the provider uses its ids again, has
    /// another id.
    pub fn inbound(backend: &BackendName, external_id: &str, identity: &Identity, text: &str) -> Self {
        // The length says where the external id ends: it may hold the separator of the parts.
        let length = external_id.len().to_string();
        Self::named(&["in", backend.as_str(), identity.as_str(), &length, external_id, text])
    }

    /// The id of a message that came through `backend` with these `values` in the fields that
    /// `receive.dedupe` lists. The same values in the same order make the same id.
    pub fn inbound_of(backend: &BackendName, values: &[String]) -> Self {
        // The lengths say where each value ends.
        let values: Vec<_> = values.iter().map(|value| format!("{}:{value}", value.len())).collect();
        Self::named(&["in-by", backend.as_str(), &values.concat()])
    }

    /// The id of the message that a client called `client_name` sends under its own id of the message,
    /// `key` (`Idempotency-Key`). The name is that of an API key or of a compatibility listener's user,
    /// or `anonymous`.
    pub fn outbound(client_name: &str, key: &str) -> Self {
        Self::named(&["out", client_name, key])
    }

    /// The id of the automatic answer to the message `id`. It is always the same, however often the
    /// message is answered.
    pub fn answer_to(id: Self) -> Self {
        Self::named(&["answer", &id.to_string()])
    }

    /// The id of a report with this `body`, since a report has no id of its own. The same body makes the
    /// same id.
    pub fn of_report(body: &str) -> Self {
        Self::named(&["webhook-report", body])
    }

    /// The id of a request with `digest` from `backend`'s provider. An exact repetition of the request
    /// has the same id.
    pub fn of_request(backend: &BackendName, digest: &[u8; 32]) -> Self {
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self::named(&["request", backend.as_str(), &digest])
    }

    /// The id that `text` begins with, with or without hyphens. What follows it is ignored: a request may carry
    /// more than our id, such as the recipient's number, to differ from others about the same message.
    ///
    /// # Errors
    /// `text` does not begin with a UUID.
    pub fn at_start(text: &str) -> Result<Self, uuid::Error> {
        let starts = [36, 32].into_iter().filter_map(|length| text.get(..length));
        starts.map(str::parse).find(Result::is_ok).unwrap_or_else(|| text.parse())
    }

    /// The id in delivery reports about a message of which only the provider's own id, `external_id`, is
    /// known. It is the same in every report about the message.
    pub fn reported(backend: &BackendName, external_id: &str) -> Self {
        Self::named(&["report", backend.as_str(), external_id])
    }

    /// The 16 bytes of the UUID.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// When the id was made, which a UUIDv7 says. `None` if the id does not say it.
    pub fn made_at(self) -> Option<Timestamp> {
        let (seconds, nanoseconds) = self.0.get_timestamp()?.to_unix();
        Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()
    }

    fn named(parts: &[&str]) -> Self {
        Self(Uuid::new_v5(&Self::NAMESPACE, parts.join("\0").as_bytes()))
    }
}

impl From<Uuid> for MessageId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl From<MessageId> for Uuid {
    fn from(id: MessageId) -> Self {
        id.0
    }
}

impl Default for MessageId {
    fn default() -> Self {
        Self::new()
    }
}

impl FromStr for MessageId {
    type Err = uuid::Error;

    fn from_str(id: &str) -> Result<Self, uuid::Error> {
        id.parse().map(Self)
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_name_keeps_to_its_alphabet() {
        for good in ["a", "my-backend_2", &"x".repeat(63)] {
            assert_eq!(good.parse::<BackendName>().map(|n| n.as_str().to_owned()), Ok(good.to_owned()));
        }
        for bad in ["", "A", "a.b", "a b", "é", "a/b", &"x".repeat(64)] {
            assert_eq!(bad.parse::<BackendName>(), Err(BackendName::RULE), "{bad:?}");
        }
    }

    #[test]
    fn an_identity_is_neither_blank_nor_long_nor_binary_and_hides_itself() {
        for bad in ["", "  ", "a\0b", "a\nb", &"1".repeat(257)] {
            assert!(bad.parse::<Identity>().is_err(), "{bad:?}");
        }
        let identity: Identity = "+15551234567".parse().unwrap();
        assert!(!format!("{identity:?}").contains("555"));
    }

    #[test]
    fn a_number_has_three_spellings_and_anything_else_none() {
        let identity = |text: &str| text.parse::<Identity>().unwrap();
        let spelled = |text: &str| -> Vec<String> {
            identity(text).spellings().into_iter().map(String::from).collect()
        };
        for number in
            ["+15551234567", "15551234567", "0015551234567", "+1 555 123-4567", " 1555\u{a0}1234567"]
        {
            assert_eq!(spelled(number), ["+15551234567", "0015551234567", "15551234567"], "{number}");
            assert!(identity(number).is_same_number(&identity("+15551234567")), "{number}");
            assert!(!identity(number).is_same_number(&identity("+15551234568")), "{number}");
        }
        for other in ["clinic", "-1001234567890", "tel:+15551234567", "1.555", "+", "@ann", "٠٧١٢"] {
            assert!(spelled(other).is_empty(), "{other}");
            assert!(!identity(other).is_same_number(&identity("@bob")), "{other}");
        }
    }

    #[test]
    fn an_id_is_found_at_the_start_of_a_longer_one() {
        let id = "0199b2a5-0000-7000-8000-000000000001";
        for text in [
            id,
            "0199b2a5-0000-7000-8000-000000000001-+15551234567",
            "0199b2a5000070008000000000000001",
            "0199b2a50000700080000000000000014567",
        ] {
            assert_eq!(MessageId::at_start(text).map(|id| id.to_string()), Ok(id.to_owned()), "{text}");
        }
        for text in
            ["", "SM1", "0199b2a5-0000-7000-8000-00000000000", "x0199b2a5-0000-7000-8000-000000000001"]
        {
            assert!(MessageId::at_start(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_same_message_makes_the_same_id_and_whatever_differs_another() {
        let inbound = |backend: &str, external_id: &str, identity: &str, text: &str| {
            MessageId::inbound(&backend.parse().unwrap(), external_id, &identity.parse().unwrap(), text)
        };
        let id = inbound("a", "x", "1", "hi");
        assert_eq!(inbound("a", "x", "1", "hi"), id);
        for other in [
            inbound("b", "x", "1", "hi"),
            inbound("a", "y", "1", "hi"),
            inbound("a", "x", "2", "hi"),
            inbound("a", "x", "1", "ho"),
            inbound("a", "x\0hi", "1", ""),
            inbound("a", "", "1", "x\0hi"),
            MessageId::outbound("a", "x"),
        ] {
            assert_ne!(other, id);
        }
        assert_ne!(inbound("a", "x\0y", "1", "z"), inbound("a", "x", "1", "y\0z"));
        assert_eq!(id.0.get_version_num(), 5);
        assert_eq!((id.made_at(), MessageId::new().0.get_version_num()), (None, 7));
        let made = "019b2a4c-0000-7000-8000-000000000000".parse::<MessageId>().unwrap().made_at();
        assert_eq!(made.unwrap().as_millisecond(), 0x019b_2a4c_0000);
    }
}
