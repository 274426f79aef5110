//! An [`Envelope`] as AMQP 0-9-1 carries it, and back.

use bytes::Bytes;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use postern_broker::{Address, BrokerError, Envelope, HeaderValue, Headers, header::TRACEPARENT};

/// AMQP's delivery mode of a message that is written to disk.
const PERSISTENT: u8 = 2;

/// The largest body, in bytes: the default `max_message_size` of RabbitMQ 4 (3.x: 128 MiB). The
/// broker answers a larger one by closing the channel, with everything in flight on it.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// The most bytes that all headers of a message may take in AMQP's encoding. They must fit into one
/// frame, [`PUBLISHED_FRAME`], together with what encloses them.
const MAX_HEADERS: usize = 16 * 1024;
/// So many bytes of an application's own headers are carried on to retries and dead letters: what
/// cannot be published again would never end. Beyond, headers are left out.
const MAX_FOREIGN: usize = 12 * 1024;
/// The largest frame, in bytes, on the connection that publishes. lapin holds room for 32 of them,
/// twice; with the 128 KiB that brokers offer, that would be 8 MiB of memory.
pub(super) const PUBLISHED_FRAME: u32 = 20 * 1024;
/// The same on the connection that consumes: what RabbitMQ offers unless it is told otherwise, so
/// that the headers of whatever was published fit. Where lapin learns it from the broker only, it
/// writes zeros over all of the room, which takes the memory before anything comes.
pub(super) const CONSUMED_FRAME: u32 = 128 * 1024;

/// Headers that RabbitMQ adds when it delivers again or dead-letters. They tell of the broker's
/// ways, not of the message, and would grow with each retry.
const OF_THE_BROKER: [&str; 4] = ["x-delivery-count", "x-acquired-count", "x-first-death-", "x-last-death-"];

/// A message that is ready to be published.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
    /// Where it goes, for errors.
    pub(super) address: Address,
}

impl Outgoing {
    /// # Errors
    /// [`BrokerError::Refused`] for what AMQP cannot carry.
    pub(super) fn new(address: Address, envelope: Envelope) -> Result<Self, BrokerError> {
        if envelope.body.len() > MAX_BODY {
            let bytes = envelope.body.len();
            return Err(BrokerError::Refused(format!(
                "a body of {bytes} bytes; at most {MAX_BODY} are taken"
            )));
        }
        let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
        if let Some(id) = envelope.message_id {
            properties = properties.with_message_id(short("message_id", id)?);
        }
        if let Some(kind) = envelope.kind {
            properties = properties.with_type(short("type", kind)?);
        }
        if let Some(content_type) = envelope.content_type {
            properties = properties.with_content_type(short("content_type", content_type)?);
        }
        if !envelope.headers.is_empty() {
            properties = properties.with_headers(table(envelope.headers)?);
        }
        Ok(Self {
            exchange: short("exchange", address.exchange())?,
            routing_key: short("routing_key", address.routing_key())?,
            properties,
            body: envelope.body,
            address,
        })
    }
}

/// What a delivery holds.
pub(super) fn envelope(properties: &BasicProperties, body: Vec<u8>) -> Envelope {
    let text = |value: &Option<ShortString>| value.as_ref().map(|value| value.as_str().to_owned());
    Envelope {
        message_id: text(properties.message_id()),
        kind: text(properties.kind()),
        content_type: text(properties.content_type()),
        headers: properties.headers().as_ref().map(headers).unwrap_or_default(),
        body: body.into(),
    }
}

/// How often a quorum queue got it back: `x-delivery-count`. From RabbitMQ 4.3 on only what was
/// rejected or lost counts, before every return.
pub(super) fn returned(properties: &BasicProperties) -> u32 {
    let count = properties.headers().as_ref().and_then(|table| table.inner().get("x-delivery-count"));
    match count.and_then(header) {
        Some(HeaderValue::Integer(count)) => u32::try_from(count).unwrap_or_default(),
        _ => 0,
    }
}

fn short(what: &str, value: String) -> Result<ShortString, BrokerError> {
    ShortString::try_new(value)
        .map_err(|_| BrokerError::Refused(format!("a {what} of more than 255 bytes, the most in AMQP")))
}

fn table(headers: Headers) -> Result<FieldTable, BrokerError> {
    let mut table = FieldTable::default();
    let mut bytes = 0;
    for (name, value) in headers {
        bytes += weight(&name, &value);
        let value = match value {
            HeaderValue::Integer(number) => AMQPValue::LongLongInt(number),
            HeaderValue::Text(text) => AMQPValue::LongString(text.into_bytes().into()),
        };
        table.insert(short("header's name", name)?, value);
    }
    if bytes > MAX_HEADERS {
        return Err(BrokerError::Refused(format!(
            "headers of {bytes} bytes; at most {MAX_HEADERS} are taken"
        )));
    }
    Ok(table)
}

/// The bytes of a header in AMQP's encoding.
fn weight(name: &str, value: &HeaderValue) -> usize {
    let value = match value {
        HeaderValue::Integer(_) => 8,
        HeaderValue::Text(text) => 4 + text.len(),
    };
    1 + name.len() + 1 + value
}

fn headers(table: &FieldTable) -> Headers {
    let kept = |name: &str| !OF_THE_BROKER.iter().any(|prefix| name.starts_with(prefix));
    let known = table.inner().iter().filter(|(name, _)| kept(name.as_str()));
    let mut headers: Headers =
        known.filter_map(|(name, value)| Some((name.as_str().to_owned(), header(value)?))).collect();
    let mut room = MAX_FOREIGN;
    headers.retain(|name, value| {
        let weight = if own(name) { 0 } else { weight(name, value) };
        let fits = weight <= room;
        room -= if fits { weight } else { 0 };
        fits
    });
    headers
}

fn own(name: &str) -> bool {
    name == TRACEPARENT || name.starts_with("x-postern-")
}

fn header(value: &AMQPValue) -> Option<HeaderValue> {
    Some(match value {
        AMQPValue::ShortShortInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::ShortShortUInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::ShortInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::ShortUInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::LongInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::LongUInt(number) => HeaderValue::Integer((*number).into()),
        AMQPValue::LongLongInt(number) => HeaderValue::Integer(*number),
        AMQPValue::ShortString(text) => HeaderValue::Text(text.as_str().to_owned()),
        AMQPValue::LongString(text) => {
            HeaderValue::Text(std::str::from_utf8(text.as_bytes()).ok()?.to_owned())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address() -> Address {
        Address::Dead("demo".parse().unwrap())
    }

    #[test]
    fn an_envelope_comes_back_as_it_was() {
        let sent = Envelope {
            message_id: Some("id".to_owned()),
            kind: Some("postern.test.v1".to_owned()),
            content_type: None,
            headers: Headers::new(),
            body: Bytes::from_static(b"{}"),
        }
        .with("text", "grün")
        .with("least", i64::MIN);
        let outgoing = Outgoing::new(address(), sent.clone()).unwrap();
        assert_eq!((outgoing.exchange.as_str(), outgoing.routing_key.as_str()), ("postern.dead", "demo"));
        assert_eq!(outgoing.properties.delivery_mode(), &Some(PERSISTENT));
        assert_eq!(envelope(&outgoing.properties, outgoing.body.to_vec()), sent);
    }

    #[test]
    fn headers_of_other_kinds_and_of_the_broker_are_dropped() {
        let mut table = FieldTable::default();
        for (name, value) in [
            ("small", AMQPValue::ShortShortUInt(255)),
            ("moment", AMQPValue::Timestamp(1)),
            ("flag", AMQPValue::Boolean(true)),
            ("bytes", AMQPValue::LongString(vec![0xff].into())),
            ("x-delivery-count", AMQPValue::LongLongInt(3)),
            ("x-first-death-queue", AMQPValue::LongString("q".into())),
        ] {
            table.insert(name.into(), value);
        }
        let properties = BasicProperties::default().with_headers(table);
        assert_eq!((returned(&properties), returned(&BasicProperties::default())), (3, 0));
        let read = envelope(&properties, Vec::new());
        assert_eq!(read.headers, Headers::from([("small".to_owned(), HeaderValue::Integer(255))]));
    }

    /// A message that was taken can be published again, whatever its application put around it.
    #[test]
    fn headers_beyond_their_room_are_left_out_and_ours_never() {
        let mut table = FieldTable::default();
        let long = |bytes: usize| AMQPValue::LongString(vec![b'7'; bytes].into());
        for (name, value) in
            [("a", long(8000)), ("b", long(8000)), ("c", long(10)), ("traceparent", long(55))]
        {
            table.insert(name.into(), value);
        }
        for n in 0..2000 {
            table.insert(format!("d{n}").into(), AMQPValue::Boolean(true));
            table.insert(format!("e{n}").into(), AMQPValue::ShortShortInt(1));
        }
        table.insert("x-postern-reason".into(), long(500));
        let read = envelope(&BasicProperties::default().with_headers(table), Vec::new());
        let names: Vec<_> = read.headers.keys().filter(|name| !name.starts_with('e')).collect();
        assert_eq!(names, ["a", "c", "traceparent", "x-postern-reason"]);
        assert!(read.headers.len() > 100, "{}", read.headers.len());
        Outgoing::new(address(), read).unwrap();
    }

    #[test]
    fn what_amqp_cannot_carry_is_refused_and_not_quoted() {
        let long = "7".repeat(300);
        for bad in [
            Envelope { message_id: Some(long.clone()), ..Envelope::default() },
            Envelope::default().with(&long, 1),
            Envelope::default().with("text", "7".repeat(MAX_HEADERS)),
            Envelope { body: vec![b'7'; MAX_BODY + 1].into(), ..Envelope::default() },
        ] {
            let error = Outgoing::new(address(), bad).unwrap_err();
            assert!(matches!(error, BrokerError::Refused(_)), "{error:?}");
            assert!(!error.to_string().contains("7777"), "{error}");
        }
    }
}
