//! Turns an [`Envelope`] into an AMQP 0-9-1 message, and a delivery into an [`Envelope`].
//!
//! An application that may publish to `postern.outbound` is trusted with its own messages and with nothing
//! else. Here, a delivery loses what an application must not say: `x-postern-…` headers are dropped unless the
//! message came through an exchange that only Postern publishes to, `x-delivery-count` is believed only if
//! RabbitMQ has counted, 12 KiB of other headers are kept, and a body that could not be published again is
//! cut. The next bounds are in `Outbound::from_json`, which checks the length first, and in the dispatcher's
//! `screen`, which dead-letters what is too large without reading it.

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
/// The most bytes of an application's own headers that retries and dead letters keep; further headers are left
/// out. A message that cannot be published again could never be settled.
const MAX_FOREIGN: usize = 12 * 1024;
/// The longest `traceparent` that is read, in bytes. One of version 00 has 55.
const MAX_TRACEPARENT: usize = 256;
/// The largest frame, in bytes, on the connection that publishes. lapin holds room for 32 of them,
/// twice; with the 128 KiB that brokers offer, that would be 8 MiB of memory.
pub(super) const PUBLISHED_FRAME: u32 = 20 * 1024;
/// The largest frame, in bytes, on the connection that consumes: RabbitMQ's default, so that the headers of any
/// published message fit. If lapin learned the size only from the broker, it would fill its whole buffer with
/// zeros, which takes the memory before anything arrives.
pub(super) const CONSUMED_FRAME: u32 = 128 * 1024;

/// Headers that RabbitMQ adds when it redelivers or dead-letters a message. They describe the message's way
/// through the broker, not the message, and would grow with each retry.
const OF_THE_BROKER: [&str; 6] =
    ["x-delivery-count", "x-acquired-count", "x-death", "x-first-death-", "x-last-death-", STREAM_OFFSET];
/// The header with a record's offset in its stream, and a consumer's argument with the offset to begin at.
pub(super) const STREAM_OFFSET: &str = "x-stream-offset";

/// A message that is ready to be published.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) exchange: ShortString,
    pub(super) routing_key: ShortString,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
    /// The address that it is published to, for errors.
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

/// The envelope of a delivery from `queue`. Postern's own headers are kept only if Postern published the
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
    // It was to return to a queue that no longer exists: the key names the queue.
    if queue == UNROUTED && exchange.as_str() == RETURN {
        envelope = envelope.with(header::QUEUE, routing_key.as_str());
    }
    // The queue is bound to several exchanges: exchange and key say what the message is.
    if queue == LOG {
        envelope = envelope
            .with(header::EXCHANGE, exchange.as_str())
            .with(header::ROUTING_KEY, routing_key.as_str());
    }
    if envelope.body.len() > MAX_BODY { envelope.cut(CUT_BODY) } else { envelope }
}

/// How often the message returned to its quorum queue: `x-delivery-count`. Before RabbitMQ 4.3 every return
/// counts; from then on only a message that was rejected or lost. On a first delivery, RabbitMQ 3 leaves the
/// publisher's value in place: it is ignored.
pub(super) fn delivery_count(delivery: &Delivery) -> u32 {
    let table = delivery.properties.headers().as_ref().filter(|_| delivery.redelivered);
    match table.and_then(|table| table.inner().get("x-delivery-count")).and_then(value) {
        Some(HeaderValue::Integer(count)) => u32::try_from(count).unwrap_or_default(),
        _ => 0,
    }
}

/// A record's offset in its stream. `None` if the delivery is not from a stream.
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

/// The size of a header in AMQP's encoding, in bytes.
fn weight(name: &str, value: &HeaderValue) -> usize {
    let value = match value {
        HeaderValue::Integer(_) => 8,
        HeaderValue::Text(text) => 4 + text.len(),
    };
    1 + name.len() + 1 + value
}

/// The headers that are kept: the application's own as far as they fit into [`MAX_FOREIGN`], and Postern's own if
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
        // They decide nothing: the message log records them as the publisher's own statement.
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
