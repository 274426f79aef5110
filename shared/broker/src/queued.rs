//! A message to send, as a queue holds it: the fields that are filled in when it is read, the time from
//! which it counts, and the same message under another backend's name.

use crate::Envelope;
use bytes::Bytes;
use jiff::Timestamp;
use postern_shared::message::{BackendName, Malformed, Outbound, Priority};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

/// The message in `envelope`. If an application gave its body no id, AMQP's `message_id` is the id if it
/// is a UUID, so that the message has the same id however often it is read.
///
/// # Errors
/// [`Malformed`] if the body is not a message to send.
pub fn read(envelope: &Envelope) -> Result<Outbound, Malformed> {
    let mut message = Outbound::from_json(&envelope.body)?;
    // What Postern publishes has the same id in both: no second look at the body is needed.
    if let Some(outer) = envelope.id().filter(|outer| *outer != message.id)
        && !says(&envelope.body).id
    {
        message.id = outer;
    }
    Ok(message)
}

/// Whether every reader of `envelope`, which holds `message`, finds the same id: its body or AMQP's
/// `message_id` says it.
pub fn has_id(envelope: &Envelope, message: &Outbound) -> bool {
    envelope.id() == Some(message.id) || says(&envelope.body).id
}

/// Which fields a message has that are filled in if they are missing.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Says {
    /// Whether it has an id.
    pub(crate) id: bool,
    /// Whether it has the time of its creation.
    pub(crate) created_at: bool,
}

/// Which of the fields in [`Says`] the message `body` has.
pub(crate) fn says(body: &[u8]) -> Says {
    #[derive(Deserialize)]
    struct SaidFields {
        id: Option<IgnoredAny>,
        created_at: Option<IgnoredAny>,
    }
    serde_json::from_slice(body).map_or_else(
        |_| Says::default(),
        |SaidFields { id, created_at }| Says { id: id.is_some(), created_at: created_at.is_some() },
    )
}

/// A message that waits in a queue, or was taken from it.
#[derive(Debug, Clone, Copy)]
pub struct Queued<'a> {
    /// The message as it was in the queue.
    pub envelope: &'a Envelope,
    /// The message that was read from it.
    pub message: &'a Outbound,
    /// The lane that it came in.
    pub lane: Priority,
}

impl Queued<'_> {
    /// When the message was created, or when an operator put it into its queue if that was later. If its
    /// publisher does not say when it was created, `seen` is used: when it was first seen in its queue.
    pub fn counts_from(&self, seen: Timestamp) -> Timestamp {
        let created_at = if says(&self.envelope.body).created_at { self.message.created_at } else { seen };
        self.envelope.requeued_at().map_or(created_at, |requeued| requeued.max(created_at))
    }
}

/// The body of a queued message with another backend, otherwise unchanged byte for byte. `None` if it is
/// not a message.
pub fn with_backend(body: &Bytes, backend: &BackendName) -> Option<Bytes> {
    #[derive(Deserialize)]
    struct Addressed<'a> {
        #[serde(borrow)]
        backend: &'a RawValue,
    }
    // serde would also take an array of the fields' values.
    let object = body.trim_ascii_start().starts_with(b"{");
    let named = object.then(|| serde_json::from_slice::<Addressed<'_>>(body).ok())??.backend.get();
    let start = named.as_ptr() as usize - body.as_ptr() as usize;
    let end = start + named.len();
    Some([&body[..start], b"\"", backend.as_str().as_bytes(), b"\"", &body[end..]].concat().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_shared::message::MessageId;

    #[test]
    fn an_id_comes_from_the_body_else_from_the_envelope_else_is_new() {
        let (inner, outer) = (MessageId::new(), MessageId::new());
        let without = r#"{"backend":"demo","identities":["1"],"text":"x"}"#.to_owned();
        let with = format!(r#"{{"id":"{inner}",{}"#, &without[1..]);
        let read = |body: &str, message_id: Option<String>| {
            read(&Envelope { message_id, body: body.to_owned().into(), ..Envelope::default() }).unwrap().id
        };
        assert_eq!(read(&with, Some(outer.to_string())), inner);
        assert_eq!(read(&without, Some(outer.to_string())), outer);
        assert_eq!(read(&with, None), inner);
        let new = read(&without, Some("order-17".to_owned()));
        assert!(new != inner && new != outer);
    }

    #[test]
    fn another_backend_changes_nothing_else() {
        let klinik: BackendName = "klinik".parse().unwrap();
        for (was, is) in [
            (
                r#"{ "own": 1e99, "backend" : "clinic" , "a":{"backend":"x"} }"#,
                Some(r#"{ "own": 1e99, "backend" : "klinik" , "a":{"backend":"x"} }"#),
            ),
            (r#"{"backend":"cli\u006eic"}"#, Some(r#"{"backend":"klinik"}"#)),
            (r#"{"identities":["1"]}"#, None),
            (r#"["backend"]"#, None),
            ("no json", None),
        ] {
            let is = is.map(|is| Bytes::from(is.to_owned()));
            assert_eq!(with_backend(&Bytes::from(was.to_owned()), &klinik), is, "{was}");
        }
    }

    #[test]
    fn it_counts_from_its_creation_or_from_when_an_operator_put_it_there() {
        let [created, seen, requeued]: [Timestamp; 3] =
            ["2026-11-27T08:00:00Z", "2026-11-27T09:00:00Z", "2026-11-27T10:00:00Z"]
                .map(|at| at.parse().unwrap());
        let undated = r#"{"backend":"demo","identities":["1"],"text":"x"}"#.to_owned();
        let dated = format!(r#"{{"created_at":"{created}",{}"#, &undated[1..]);
        let envelope = |body: &str| Envelope { body: body.to_owned().into(), ..Envelope::default() };
        for (envelope, expected) in [
            (envelope(&dated), created),
            (envelope(&undated), seen),
            (envelope(&dated).requeued(requeued), requeued),
            (envelope(&undated).requeued(requeued), requeued),
            (envelope(&undated).requeued(created), seen),
        ] {
            let message = read(&envelope).unwrap();
            let queued = Queued { envelope: &envelope, message: &message, lane: Priority::Normal };
            assert_eq!(queued.counts_from(seen), expected);
        }
    }
}
