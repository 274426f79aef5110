//! An [`Envelope`] as AMQP 0-9-1 carries it, and back.
//!
//! An application that may publish to `postern.outbound` is trusted with its own messages and with nothing
//! else. So this is where a delivery loses what an application must not say: `x-postern-…` headers are
//! dropped unless the message came by an exchange that only Postern publishes to, `x-delivery-count` is
//! believed only of what RabbitMQ has counted, 12 KiB of other headers are kept, and a body that could
//! not be published again is cut. The next bounds are in `Outbound::from_json`, which looks at the length
//! first, and in the dispatcher's `screen`, which dead-letters what is too large without reading it.

use bytes::Bytes;
use lapin::{
    BasicProperties,
    message::Delivery,
    types::{AMQPValue, FieldTable, ShortString},
};
use postern_broker::{
    Address, BrokerError, CUT_BODY, Envelope, HeaderValue, Headers, header,
    topology::{LOG, RETURN, UNROUTED, is_internal},
};

/// AMQP's delivery mode of a message that is written to disk.
const PERSISTENT: u8 = 2;

/// The largest body, in bytes: the default `max_message_size` of RabbitMQ 4 (3.x: 128 MiB). The
/// broker answers a larger one by closing the channel, with everything in flight on it.
pub(super) const MAX_BODY: usize = 16 * 1024 * 1024;

/// The most bytes that all headers of a message may take in AMQP's encoding. They must fit into one
/// frame, [`PUBLISHED_FRAME`], together with what encloses them.
const MAX_HEADERS: usize = 16 * 1024;
/// So many bytes of an application's own headers are carried on to retries and dead letters: what
/// cannot be published again would never end. Beyond, headers are left out.
const MAX_FOREIGN: usize = 12 * 1024;
/// The longest `traceparent` that is read, in bytes. One of version 00 has 55.
const MAX_TRACEPARENT: usize = 256;
/// The largest frame, in bytes, on the connection that publishes. lapin holds room for 32 of them,
/// twice; with the 128 KiB that brokers offer, that would be 8 MiB of memory.
pub(super) const PUBLISHED_FRAME: u32 = 20 * 1024;
/// The same on the connection that consumes: what RabbitMQ offers unless it is told otherwise, so
/// that the headers of whatever was published fit. Where lapin learns it from the broker only, it
/// writes zeros over all of the room, which takes the memory before anything comes.
pub(super) const CONSUMED_FRAME: u32 = 128 * 1024;

/// Headers that RabbitMQ adds when it delivers again or dead-letters. They tell of the broker's
/// ways, not of the message, and would grow with each retry.
const OF_THE_BROKER: [&str; 6] =
    ["x-delivery-count", "x-acquired-count", "x-death", "x-first-death-", "x-last-death-", STREAM_OFFSET];
/// The place of a record in its stream; on a consumer, where it begins.
pub(super) const STREAM_OFFSET: &str = "x-stream-offset";

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
    /// `envelope` for `address`, if its body has at most `max_body` bytes.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] for what AMQP, or this broker, cannot carry.
    pub(super) fn new(address: Address, envelope: Envelope, max_body: usize) -> Result<Self, BrokerError> {
        if envelope.body.len() > max_body {
            let bytes = envelope.body.len();
            return Err(BrokerError::Refused(format!(
                "a body of {bytes} bytes; at most {max_body} are accepted"
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

/// What a delivery from `queue` holds. Headers of Postern's own count only if Postern published the
/// message, and a body that cannot be published again is cut.
pub(super) fn envelope(queue: &str, delivery: Delivery) -> Envelope {
    let Delivery { exchange, routing_key, properties, data, .. } = delivery;
    let text = |value: &Option<ShortString>| value.as_ref().map(|value| value.as_str().to_owned());
    let table = properties.headers().as_ref();
    let is_trusted = is_internal(exchange.as_str());
    let mut envelope = Envelope {
        message_id: text(properties.message_id()),
        kind: text(properties.kind()),
        content_type: text(properties.content_type()),
        headers: table.map(|table| headers(table, is_trusted)).unwrap_or_default(),
        body: data.into(),
    };
    // On its way back to a queue that was gone: the key says to which.
    if queue == UNROUTED && exchange.as_str() == RETURN {
        envelope = envelope.with(header::QUEUE, routing_key.as_str());
    }
    // What is bound to several exchanges is told by the way that it came.
    if queue == LOG {
        envelope = envelope
            .with(header::EXCHANGE, exchange.as_str())
            .with(header::ROUTING_KEY, routing_key.as_str());
    }
    if envelope.body.len() > MAX_BODY { envelope.cut(CUT_BODY) } else { envelope }
}

/// How often a quorum queue got it back: `x-delivery-count`. From RabbitMQ 4.3 on only what was
/// rejected or lost counts, before every return. On a first delivery RabbitMQ 3 leaves what the
/// publisher says: it counts for nothing.
pub(super) fn returned(delivery: &Delivery) -> u32 {
    let table = delivery.properties.headers().as_ref().filter(|_| delivery.redelivered);
    match table.and_then(|table| table.inner().get("x-delivery-count")).and_then(value) {
        Some(HeaderValue::Integer(count)) => u32::try_from(count).unwrap_or_default(),
        _ => 0,
    }
}

/// The place of a record in its stream. `None` if it is from no stream.
pub(super) fn stream_offset(delivery: &Delivery) -> Option<i64> {
    let table = delivery.properties.headers().as_ref()?;
    match table.inner().get(STREAM_OFFSET).and_then(value)? {
        HeaderValue::Integer(offset) => Some(offset),
        HeaderValue::Text(_) => None,
    }
}

fn short(what: &str, value: String) -> Result<ShortString, BrokerError> {
    ShortString::try_new(value)
        .map_err(|_| BrokerError::Refused(format!("a {what} of more than 255 bytes, the AMQP limit")))
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
            "headers of {bytes} bytes; at most {MAX_HEADERS} are accepted"
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

/// Those that are read: of the application's own as many as there is room for, and Postern's own if
/// they are `trusted`.
fn headers(table: &FieldTable, trusted: bool) -> Headers {
    let mut room = MAX_FOREIGN;
    let mut fits = |name: &str, value: &HeaderValue| {
        let weight = weight(name, value);
        let fits = weight <= room;
        room -= if fits { weight } else { 0 };
        fits
    };
    let mut kept = |name: &str, value: &HeaderValue| match name {
        header::TRACEPARENT => weight("", value) <= MAX_TRACEPARENT,
        // They decide nothing: the message log holds them as what the publisher says.
        header::BY | header::SEGMENTS => fits(name, value),
        own if own.starts_with(header::OWN) => trusted,
        broker if OF_THE_BROKER.iter().any(|prefix| broker.starts_with(prefix)) => false,
        foreign => fits(foreign, value),
    };
    let known =
        table.inner().iter().filter_map(|(name, amqp)| Some((name.as_str().to_owned(), value(amqp)?)));
    known.filter(|(name, value)| kept(name, value)).collect()
}

fn value(value: &AMQPValue) -> Option<HeaderValue> {
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
mod tests;
