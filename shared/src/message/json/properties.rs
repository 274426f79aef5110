//! A message that is written can be read again unchanged, and so can one that was read from any body.

use crate::message::{
    CallbackEvent, Context, Identity, Inbound, Malformed, MessageId, Outbound, Priority, Report,
};
use jiff::Timestamp;
use proptest::{collection, option, prelude::*};
use serde_json::{Map, Value};
use std::fmt::Debug;

/// Values that JSON keeps unchanged. Floats are not among them: a whole one may be read as an integer.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            collection::btree_map(any::<String>(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn table() -> impl Strategy<Value = Map<String, Value>> {
    collection::btree_map(any::<String>(), value(), 0..5).prop_map(|map| map.into_iter().collect())
}

fn identity() -> impl Strategy<Value = Identity> {
    any::<String>().prop_filter_map("no identity", |text| Identity::try_from(text).ok())
}

fn moment() -> impl Strategy<Value = Timestamp> {
    (0_i64..4_102_444_800_000).prop_map(|ms| Timestamp::from_millisecond(ms).unwrap())
}

prop_compose! {
    fn outbound()(
        identities in collection::vec(identity(), 1..5),
        text in any::<String>().prop_map(|text| text.replace('\0', "")),
        context in table(),
        (created_at, expires_at) in (moment(), option::of(moment())),
        (bulk, maybe_sent) in any::<(bool, bool)>(),
        (attempt, deferred, parts_sent) in (1_u32.., any::<u32>(), any::<u32>()),
    ) -> Outbound {
        let priority = if bulk { Priority::Bulk } else { Priority::Normal };
        let context: Context = context;
        Outbound {
            id: MessageId::default(),
            backend: "demo".parse().unwrap(),
            identities, text, context, priority, created_at, expires_at, attempt, deferred, parts_sent,
            maybe_sent,
        }
    }
}

prop_compose! {
    fn inbound()(
        identity in identity(),
        text in any::<String>(),
        fields in table(),
        external_id in option::of(any::<String>()),
        received_at in moment(),
    ) -> Inbound {
        let (id, backend) = (MessageId::default(), "demo".parse().unwrap());
        Inbound { id, backend, identity, text, fields, external_id, received_at }
    }
}

/// If `body` holds a message, the message can be written and read again unchanged.
fn settles<T: PartialEq + Debug>(
    body: &[u8],
    read: fn(&[u8]) -> Result<T, Malformed>,
    write: fn(&T) -> Vec<u8>,
) -> Result<(), TestCaseError> {
    if let Ok(message) = read(body) {
        prop_assert_eq!(read(&write(&message)).unwrap(), message);
    }
    Ok(())
}

fn all_settle(body: &[u8]) -> Result<(), TestCaseError> {
    settles(body, Inbound::from_json, Inbound::to_json)?;
    settles(body, Outbound::from_json, Outbound::to_json)?;
    settles(body, Report::from_json, Report::to_json)?;
    settles(body, CallbackEvent::from_json, CallbackEvent::to_json)
}

proptest! {
    #[test]
    fn a_message_comes_back_as_it_was(outbound in outbound(), inbound in inbound()) {
        prop_assert_eq!(Outbound::from_json(&outbound.to_json()).unwrap(), outbound);
        prop_assert_eq!(Inbound::from_json(&inbound.to_json()).unwrap(), inbound);
    }

    #[test]
    fn a_spoilt_message_is_one_or_none(
        message in outbound(),
        at in any::<prop::sample::Index>(),
        end in any::<prop::sample::Index>(),
        with in prop_oneof![collection::vec(any::<u8>(), 0..4), "[\\[\\]{}\",:0-9a-z\\\\-]{0,8}".prop_map(String::into_bytes)],
    ) {
        let mut body = message.to_json();
        let at = at.index(body.len());
        let end = at + end.index(body.len() - at);
        body.splice(at..end.min(at + 4), with);
        all_settle(&body)?;
    }

    #[test]
    fn no_bytes_make_it_panic(body in prop_oneof![
        collection::vec(any::<u8>(), 0..200),
        "[\\[\\]{}\",:0-9a-z\\\\ -]{0,200}".prop_map(String::into_bytes),
    ]) {
        all_settle(&body)?;
    }
}
