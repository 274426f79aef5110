//! Which callbacks follow an attempt.

use super::*;
use crate::outcome::Sent;
use postern_broker::header;
use postern_config::{Config, ProviderRegistry};
use postern_shared::{
    callback::{CONTEXT_KEY, Callback},
    error::Failure,
    message::{Context, MessageId, Outbound, Priority},
};
use std::{collections::BTreeMap, time::Duration};

fn keys() -> CallbackKeys {
    let text = "[backends.demo]\ntype = \"console\"\n[[compat.kannel.users]]\nusername = \"u\"\n\
                password = \"hush\"\nbackend = \"demo\"\n";
    Config::parse("test", Some(text), [], &ProviderRegistry::builtin()).unwrap().compat.callback_keys()
}

/// A message to five people, with the callback of `callback_of` for the events of `mask`.
fn message(callback_of: Option<MessageId>, mask: u8) -> Outbound {
    let id = MessageId::new();
    let callback = Callback {
        message_id: callback_of.unwrap_or(id),
        user: "u".to_owned(),
        url: "https://example.org/".to_owned(),
        mask,
        to: None,
        values: BTreeMap::new(),
    };
    let token = keys().seal(&callback).unwrap();
    let context = Context::from_iter([(CONTEXT_KEY.to_owned(), token.into())]);
    let identities = ["+1", "+2", "+3", "+4", "+5"].map(|identity| identity.parse().unwrap()).into();
    Outbound {
        id,
        backend: "demo".parse().unwrap(),
        identities,
        text: "x".to_owned(),
        context,
        priority: Priority::Normal,
        created_at: Timestamp::now(),
        expires_at: None,
        attempt: 1,
        deferred: 0,
        parts_sent: 0,
        maybe_sent: false,
    }
}

fn told(message: &Outbound) -> Vec<(String, u8, String)> {
    let dispositions = vec![
        Disposition::Sent(Sent::with_id("SM1")),
        Disposition::Retry {
            delay: Duration::from_secs(1),
            failure: Failure::transient("http_503", "later"),
        },
        Disposition::Dead(Failure::permanent("http_400", "their words")),
        Disposition::Expired(None),
        // The provider may have it.
        Disposition::Dead(Failure::unknown("timeout", "no answer")),
    ];
    let original = Envelope::from(message).with(header::TRACEPARENT, "00-a-b-01");
    let attempt = Attempt::of(message, None, dispositions);
    let callback_events = callbacks(&keys(), &original, &attempt, Timestamp::now());
    let told = |(address, envelope): &(Address, Envelope)| {
        assert_eq!(*address, Address::Callbacks("demo".parse().unwrap()));
        assert_eq!(envelope.text_header(header::TRACEPARENT), Some("00-a-b-01"));
        let callback_event = CallbackEvent::from_json(&envelope.body).unwrap();
        assert_eq!(
            (callback_event.message_id, envelope.kind.as_deref()),
            (message.id, Some("postern.callback.v1"))
        );
        (callback_event.identity.unwrap().as_str().to_owned(), callback_event.event, callback_event.reply)
    };
    callback_events.iter().map(told).collect()
}

fn tell(identity: &str, event: u8, reply: &str) -> (String, u8, String) {
    (identity.to_owned(), event, reply.to_owned())
}

#[test]
fn what_was_sent_and_what_never_will_be_is_told_to_who_asked() {
    let refused = [tell("+3", 16, "NACK/http_400"), tell("+4", 16, "NACK/expired")];
    let accepted = [tell("+1", 8, "ACK/")];
    assert_eq!(told(&message(None, 31)), [&accepted[..], &refused].concat());
    assert_eq!(told(&message(None, 8)), accepted);
    assert_eq!(told(&message(None, 16)), refused);
    assert_eq!(told(&message(None, 2)), refused);
    assert_eq!(told(&message(None, 5)), []);
}

#[test]
fn nobody_is_told_by_a_callback_that_no_listener_has_made_for_this_message() {
    assert_eq!(told(&message(Some(MessageId::new()), 31)), []);
    for forged in ["", "x", "e30.AAAAAAAAAAAAAAAAAAAAAA", "../..//?#."] {
        let mut message = message(None, 31);
        message.context.insert(CONTEXT_KEY.to_owned(), forged.into());
        assert_eq!(told(&message), [], "{forged}");
    }
    let mut message = message(None, 31);
    message.context.insert(CONTEXT_KEY.to_owned(), 7.into());
    assert_eq!(told(&message), []);
}
