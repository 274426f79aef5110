//! A message to send as a queue holds it, and what of it is filled in when it is read.

use crate::Envelope;
use postern_shared::message::{Malformed, Outbound};
use serde::{Deserialize, de::IgnoredAny};

/// The message in `envelope`. Where an application gave its body no id, AMQP's `message_id` is the
/// id if it is a UUID, so that the message has the same id however often it is read.
///
/// # Errors
/// [`Malformed`]
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

/// Which of what is filled in otherwise a message says itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Says {
    /// Its id.
    pub id: bool,
    /// When it was created.
    pub created_at: bool,
}

/// Which fields the message `body` says itself.
pub fn says(body: &[u8]) -> Says {
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
}
