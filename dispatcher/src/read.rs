//! Reading a message from a backend's queue.

use postern_broker::Envelope;
use postern_shared::message::{Malformed, Outbound};
use serde::{Deserialize, de::IgnoredAny};

/// The message in `envelope`. Where an application gave its body no id, AMQP's `message_id` is the
/// id if it is a UUID, so that the message has the same id however often it is read.
///
/// # Errors
/// [`Malformed`]
pub(crate) fn read(envelope: &Envelope) -> Result<Outbound, Malformed> {
    let mut message = Outbound::from_json(&envelope.body)?;
    // What Postern publishes has the same id in both: no second look at the body is needed.
    if let Some(outer) = envelope.id().filter(|outer| *outer != message.id)
        && !names_itself(&envelope.body)
    {
        message.id = outer;
    }
    Ok(message)
}

fn names_itself(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Id {
        id: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Id>(body).is_ok_and(|message| message.id.is_some())
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
