//! The name of a dead letter that has no id.

use postern_broker::{Envelope, HeaderValue, header};
use sha2::{Digest, Sha256};

/// The beginning of every handle.
const PREFIX: &str = "sha256:";
/// How many bytes of the digest a handle holds. Among a million letters, the chance that two of them have
/// the same handle is one in 500.
const BYTES: usize = 6;

/// The headers that say how a letter was dead-lettered. Headers that count how often it was delivered are
/// left out.
const OF_ITS_DEATH: [&str; 6] =
    [header::REASON, header::CLASS, header::CODE, header::DEAD_AT, header::ATTEMPTS, header::QUEUE];

/// A short digest of a letter's body, its own headers and how it was dead-lettered. It stays the same while
/// the letter waits. Letters that are equal in all of that have the same handle.
pub(super) fn handle(envelope: &Envelope) -> String {
    let mut digest = Sha256::new();
    let mut part = |bytes: &[u8]| {
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(bytes);
    };
    part(&envelope.body);
    part(envelope.message_id.as_deref().unwrap_or_default().as_bytes());
    let died = OF_ITS_DEATH.iter().filter_map(|name| Some((*name, envelope.headers.get(*name)?)));
    let own = envelope.own_headers();
    for (name, value) in died.chain(own.iter().map(|(name, value)| (name.as_str(), value))) {
        part(name.as_bytes());
        match value {
            HeaderValue::Text(text) => part(text.as_bytes()),
            HeaderValue::Integer(number) => part(&number.to_be_bytes()),
        }
    }
    let hex = digest.finalize()[..BYTES].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{PREFIX}{hex}")
}

/// Whether `id` is a whole handle.
pub(super) fn is_handle(id: &str) -> bool {
    let hex = id.strip_prefix(PREFIX);
    hex.is_some_and(|hex| hex.len() == 2 * BYTES && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_same_however_often_the_letter_is_looked_at_and_another_for_another_death() {
        let letter = Envelope { body: "no message".into(), ..Envelope::default() }
            .with(header::CODE, "malformed")
            .with(header::DEAD_AT, "2026-01-01T00:00:00.000Z")
            .with("x-own", 7);
        let name = handle(&letter);
        assert!(is_handle(&name) && !is_handle(&name[..10]), "{name}");
        assert_eq!(handle(&letter.clone().with("x-delivery-count", 3).with("x-death", "often")), name);
        for other in [
            Envelope { body: "another".into(), ..letter.clone() },
            letter.clone().with("x-own", 8),
            letter.with(header::DEAD_AT, "2026-01-01T00:00:00.001Z"),
        ] {
            assert_ne!(handle(&other), name);
        }
    }
}
