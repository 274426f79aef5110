//! The headers of a spooled message with its destination and the time since when it waits. It has them only in the
//! store.

use crate::embedded;
use postern_broker::{Address, Envelope, HeaderValue, QueueName, header};
use postern_shared::{clock, message::BackendName};

const EXCHANGE: &str = "x-postern-spool-exchange";
const KEY: &str = "x-postern-spool-key";
/// Milliseconds since 1970.
const AT: &str = "x-postern-spool-at";

/// `message` with the headers, and its address in the store. A message for the message log only has no queue of
/// its own there.
pub(super) fn put((address, envelope): (Address, Envelope), now: u64) -> (Address, Envelope) {
    let envelope = envelope
        .with(EXCHANGE, address.exchange())
        .with(KEY, address.routing_key())
        .with(AT, i64::try_from(now).unwrap_or(i64::MAX));
    let place = if address == Address::Log { Address::Queue(QueueName::unrouted()) } else { address };
    (place, envelope)
}

/// The bytes in the store of a message after [`put`].
pub(super) fn stored_bytes(address: &Address, envelope: &Envelope) -> u64 {
    let bare = |headers| Envelope { headers, ..Envelope::default() };
    let (_, stamped) = put((address.clone(), bare(envelope.headers.clone())), clock::now_ms());
    let headers = embedded::stored_bytes(&bare(envelope.headers.clone()));
    embedded::stored_bytes(envelope) - headers + embedded::stored_bytes(&stamped)
}

/// Undoes [`put`]: the address, the message, and when it was stored. A message without valid headers, such as the
/// store's own dead letter for a record that could not be decoded, goes to the dead letters of `nobody`.
pub(super) fn take(mut stored: Envelope, nobody: &BackendName) -> (Address, Envelope, Option<u64>) {
    let mut text = |name: &str| match stored.headers.remove(name) {
        Some(HeaderValue::Text(text)) => text,
        _ => String::new(),
    };
    let (exchange, key) = (text(EXCHANGE), text(KEY));
    let at = match stored.headers.remove(AT) {
        Some(HeaderValue::Integer(at)) => u64::try_from(at).ok(),
        _ => None,
    };
    if let Some(address) = Address::parse(&exchange, &key) {
        return (address, stored, at);
    }
    if stored.text_header(header::REASON).is_none() {
        stored = stored.with(header::REASON, "the spool does not name its destination");
    }
    (Address::Dead(nobody.clone()), stored, at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_off_without_a_trace_and_is_counted() {
        let address = Address::Inbound("demo".parse().unwrap());
        let envelope = Envelope { body: "{}".into(), ..Envelope::default() }.with("traceparent", "00-1");
        let now = clock::now_ms();
        let (same, stamped) = put((address.clone(), envelope.clone()), now);
        assert_eq!(same, address);
        assert_eq!(stored_bytes(&address, &envelope), embedded::stored_bytes(&stamped));
        let nobody = postern_broker::refused::NO_BACKEND.parse().unwrap();
        assert_eq!(take(stamped, &nobody), (address, envelope.clone(), Some(now)));
        let (place, stamped) = put((Address::Log, envelope.clone()), now);
        assert_eq!(place, Address::Queue(QueueName::unrouted()));
        assert_eq!(take(stamped, &nobody), (Address::Log, envelope, Some(now)));
        let dead = Envelope::default().with(header::REASON, "unreadable");
        assert_eq!(take(dead.clone(), &nobody), (Address::Dead(nobody.clone()), dead, None));
        let (address, bare, _) = take(Envelope::default(), &nobody);
        assert!(address == Address::Dead(nobody) && bare.text_header(header::REASON).is_some());
    }
}
