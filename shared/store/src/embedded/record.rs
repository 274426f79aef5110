//! How messages and positions are laid out in the store. Every record begins with the version of
//! its layout; integers are little endian, texts UTF-8.
//!
//! A message: version 1, a byte of flags (which of `message_id`, `type`, `content_type` follow),
//! those texts, the number of headers (u16), each as its name, a kind (0 text, 1 integer) and its
//! value, then the body up to the record's end. A text is its length (u32) and its bytes.
//!
//! A delayed message: version 1, the name of its queue (a text), then a message.

use bytes::{Buf, BufMut, Bytes};
use postern_broker::{Envelope, HeaderValue};

/// The layout written and read by this version of the program.
const V1: u8 = 1;

const HAS_MESSAGE_ID: u8 = 1;
const HAS_KIND: u8 = 2;
const HAS_CONTENT_TYPE: u8 = 4;

const TEXT: u8 = 0;
const INTEGER: u8 = 1;

/// A record that this program cannot read, and why; never what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum MalformedRecord {
    /// Written by a later version, or not by Postern.
    #[error("its layout is version {0}, this program knows version {V1}")]
    Version(u8),
    /// Ends too early, holds an unknown kind or a text that is not UTF-8.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
}

/// A message as it is stored.
pub(super) fn encode(envelope: &Envelope) -> Vec<u8> {
    let mut record = Vec::with_capacity(128 + envelope.body.len());
    put_message(&mut record, envelope);
    record
}

/// A delayed message as it is stored.
pub(super) fn encode_delayed(queue: &str, envelope: &Envelope) -> Vec<u8> {
    let mut record = Vec::with_capacity(192 + envelope.body.len());
    record.put_u8(V1);
    put_text(&mut record, queue);
    put_message(&mut record, envelope);
    record
}

/// The length of what [`encode`] makes.
pub(super) fn size(envelope: &Envelope) -> u64 {
    let text = |text: &str| 4 + text.len();
    let texts = [&envelope.message_id, &envelope.kind, &envelope.content_type];
    let texts: usize = texts.into_iter().flatten().map(|value| text(value)).sum();
    let header = |(name, value): (&String, &HeaderValue)| {
        text(name)
            + match value {
                HeaderValue::Text(value) => 1 + text(value),
                HeaderValue::Integer(_) => 1 + 8,
            }
    };
    let headers: usize = envelope.headers.iter().map(header).sum();
    (1 + 1 + texts + 2 + headers + envelope.body.len()) as u64
}

fn put_message(record: &mut Vec<u8>, envelope: &Envelope) {
    let texts = [&envelope.message_id, &envelope.kind, &envelope.content_type];
    let flags = [HAS_MESSAGE_ID, HAS_KIND, HAS_CONTENT_TYPE];
    record.put_u8(V1);
    record.put_u8(texts.iter().zip(flags).filter(|(text, _)| text.is_some()).map(|(_, flag)| flag).sum());
    texts.into_iter().flatten().for_each(|text| put_text(record, text));
    let headers = u16::try_from(envelope.headers.len()).unwrap_or(u16::MAX);
    record.put_u16_le(headers);
    for (name, value) in envelope.headers.iter().take(usize::from(headers)) {
        put_text(record, name);
        match value {
            HeaderValue::Text(text) => {
                record.put_u8(TEXT);
                put_text(record, text);
            }
            HeaderValue::Integer(number) => {
                record.put_u8(INTEGER);
                record.put_i64_le(*number);
            }
        }
    }
    record.put_slice(&envelope.body);
}

/// Texts are far shorter than 4 GiB: [`super::MAX_MESSAGE_BYTES`] bounds them before.
fn put_text(record: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    record.put_u32_le(length);
    record.put_slice(&text.as_bytes()[..length as usize]);
}

/// The message that [`encode`] made `record` from.
///
/// # Errors
/// For every other record; it never panics.
pub(super) fn decode(mut record: Bytes) -> Result<Envelope, MalformedRecord> {
    version(&mut record)?;
    let flags = take_u8(&mut record)?;
    if flags & !(HAS_MESSAGE_ID | HAS_KIND | HAS_CONTENT_TYPE) != 0 {
        return Err(MalformedRecord::Damaged("an unknown flag"));
    }
    let mut optional = |flag| if flags & flag == 0 { Ok(None) } else { take_text(&mut record).map(Some) };
    let mut envelope = Envelope {
        message_id: optional(HAS_MESSAGE_ID)?,
        kind: optional(HAS_KIND)?,
        content_type: optional(HAS_CONTENT_TYPE)?,
        ..Envelope::default()
    };
    let headers = record.try_get_u16_le().map_err(|_| ENDS)?;
    for _ in 0..headers {
        let name = take_text(&mut record)?;
        let value = match take_u8(&mut record)? {
            TEXT => HeaderValue::Text(take_text(&mut record)?),
            INTEGER => HeaderValue::Integer(record.try_get_i64_le().map_err(|_| ENDS)?),
            _ => return Err(MalformedRecord::Damaged("a header of unknown kind")),
        };
        envelope.headers.insert(name, value);
    }
    envelope.body = record;
    Ok(envelope)
}

/// The queue's name, and the message's record, of what [`encode_delayed`] made.
///
/// # Errors
/// For every other record; it never panics. The message's record is not looked at.
pub(super) fn decode_delayed(mut record: Bytes) -> Result<(String, Bytes), MalformedRecord> {
    version(&mut record)?;
    Ok((take_text(&mut record)?, record))
}

/// The queue's name of what [`encode_delayed`] made.
pub(super) fn delayed_queue(record: &[u8]) -> Option<String> {
    let (length, rest) = record.strip_prefix(&[V1])?.split_first_chunk::<4>()?;
    let name = rest.get(..u32::from_le_bytes(*length) as usize)?;
    std::str::from_utf8(name).ok().map(str::to_owned)
}

const ENDS: MalformedRecord = MalformedRecord::Damaged("it ends too early");

fn version(record: &mut Bytes) -> Result<(), MalformedRecord> {
    match take_u8(record)? {
        V1 => Ok(()),
        other => Err(MalformedRecord::Version(other)),
    }
}

fn take_u8(record: &mut Bytes) -> Result<u8, MalformedRecord> {
    record.try_get_u8().map_err(|_| ENDS)
}

fn take_text(record: &mut Bytes) -> Result<String, MalformedRecord> {
    let length = record.try_get_u32_le().map_err(|_| ENDS)? as usize;
    if length > record.len() {
        return Err(ENDS);
    }
    String::from_utf8(record.split_to(length).into())
        .map_err(|_| MalformedRecord::Damaged("a text is not UTF-8"))
}

/// Above every number that a store can come to in its life.
pub(super) const BEYOND: u64 = 1 << 56;

const IMPOSSIBLE: MalformedRecord = MalformedRecord::Damaged("it holds numbers that cannot be");

/// Where a queue stands: written in the batch that changes it, so that opening the store reads one
/// record for each queue and no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Position {
    /// The prefix of the keys of the queue's messages.
    pub(super) id: u32,
    /// No message of a lower sequence number is left.
    pub(super) head: u64,
    /// The sequence number of the next message.
    pub(super) tail: u64,
    /// How many messages are stored.
    pub(super) count: u64,
    /// The bytes of their records.
    pub(super) bytes: u64,
    /// Above the highest sequence number that was handed out when this was written.
    pub(super) handed: u64,
}

impl Position {
    /// As it is stored.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut record = vec![V1];
        record.put_u32_le(self.id);
        for number in [self.head, self.tail, self.count, self.bytes, self.handed] {
            record.put_u64_le(number);
        }
        record
    }

    /// The position that [`encode`](Self::encode) made `record` from.
    pub(super) fn decode(mut record: Bytes) -> Result<Self, MalformedRecord> {
        version(&mut record)?;
        if record.len() != 44 {
            return Err(MalformedRecord::Damaged("its length is wrong"));
        }
        let position = Self {
            id: record.get_u32_le(),
            head: record.get_u64_le(),
            tail: record.get_u64_le(),
            count: record.get_u64_le(),
            bytes: record.get_u64_le(),
            handed: record.get_u64_le(),
        };
        let Self { id, head, tail, count, bytes, handed } = position;
        let can_be = id < u32::MAX && head <= tail && handed <= tail && tail.max(count).max(bytes) < BEYOND;
        if can_be { Ok(position) } else { Err(IMPOSSIBLE) }
    }
}

/// Where the delayed messages stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Waiting {
    /// No delayed message of a lower key (due time in ms since 1970, sequence number) is left.
    pub(super) from: (u64, u64),
    /// The sequence number of the next one.
    pub(super) tail: u64,
    /// How many wait.
    pub(super) count: u64,
}

impl Waiting {
    /// As it is stored.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut record = vec![V1];
        for number in [self.from.0, self.from.1, self.tail, self.count] {
            record.put_u64_le(number);
        }
        record
    }

    /// What [`encode`](Self::encode) made `record` from.
    pub(super) fn decode(mut record: Bytes) -> Result<Self, MalformedRecord> {
        version(&mut record)?;
        if record.len() != 32 {
            return Err(MalformedRecord::Damaged("its length is wrong"));
        }
        let waiting = Self {
            from: (record.get_u64_le(), record.get_u64_le()),
            tail: record.get_u64_le(),
            count: record.get_u64_le(),
        };
        if waiting.tail.max(waiting.count) < BEYOND { Ok(waiting) } else { Err(IMPOSSIBLE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_broker::Headers;
    use proptest::{collection, option, prelude::*};

    fn value() -> impl Strategy<Value = HeaderValue> {
        prop_oneof![any::<String>().prop_map(HeaderValue::Text), any::<i64>().prop_map(HeaderValue::Integer)]
    }

    fn headers() -> impl Strategy<Value = Headers> {
        collection::btree_map(any::<String>(), value(), 0..8)
    }

    prop_compose! {
        fn envelope()(
            message_id in option::of(any::<String>()),
            kind in option::of(any::<String>()),
            content_type in option::of(any::<String>()),
            headers in headers(),
            body in collection::vec(any::<u8>(), 0..2000),
        ) -> Envelope {
            Envelope { message_id, kind, content_type, headers, body: body.into() }
        }
    }

    proptest! {
        #[test]
        fn a_message_comes_back_as_it_was(envelope in envelope()) {
            prop_assert_eq!(encode(&envelope).len() as u64, size(&envelope));
            prop_assert_eq!(decode(encode(&envelope).into()), Ok(envelope));
        }

        #[test]
        fn a_delayed_message_comes_back_as_it_was(queue: String, envelope in envelope()) {
            let (name, record) = decode_delayed(encode_delayed(&queue, &envelope).into()).unwrap();
            prop_assert_eq!(&name, &queue);
            prop_assert_eq!(delayed_queue(&encode_delayed(&queue, &envelope)), Some(queue));
            prop_assert_eq!(decode(record), Ok(envelope));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in collection::vec(any::<u8>(), 0..300)) {
            let mut likely = vec![V1];
            likely.extend(&bytes);
            for record in [Bytes::from(bytes), Bytes::from(likely)] {
                let _ = (decode(record.clone()), decode_delayed(record.clone()));
                let _ = (Position::decode(record.clone()), Waiting::decode(record));
            }
        }

        #[test]
        fn a_shortened_message_is_no_other(envelope in envelope(), cut in 1_usize..200) {
            let body = envelope.body.len();
            let record = Bytes::from(encode(&envelope));
            let cut = cut.min(record.len());
            let short = decode(record.slice(..record.len() - cut));
            prop_assert!(short.is_err() || cut <= body);
        }
    }

    #[test]
    fn positions_come_back_as_they_were() {
        let position = Position { id: 7, head: 1, tail: BEYOND - 1, count: 3, bytes: 4, handed: 5 };
        assert_eq!(Position::decode(position.encode().into()), Ok(position));
        let waiting = Waiting { from: (u64::MAX, 2), tail: 3, count: BEYOND - 1 };
        assert_eq!(Waiting::decode(waiting.encode().into()), Ok(waiting));
    }

    #[test]
    fn a_position_that_cannot_be_is_no_position() {
        let sound = Position { id: 7, head: 2, tail: 9, count: 3, bytes: 4, handed: 5 };
        for wrong in [
            Position { id: u32::MAX, ..sound },
            Position { head: 10, ..sound },
            Position { handed: 10, ..sound },
            Position { tail: u64::MAX, ..sound },
            Position { count: u64::MAX, ..sound },
            Position { bytes: u64::MAX, ..sound },
        ] {
            assert_eq!(Position::decode(wrong.encode().into()), Err(IMPOSSIBLE), "{wrong:?}");
        }
        for wrong in
            [Waiting { tail: BEYOND, ..Waiting::default() }, Waiting { count: BEYOND, ..Waiting::default() }]
        {
            assert_eq!(Waiting::decode(wrong.encode().into()), Err(IMPOSSIBLE), "{wrong:?}");
        }
    }

    #[test]
    fn a_later_version_is_named() {
        assert_eq!(decode(Bytes::from_static(&[9, 0])), Err(MalformedRecord::Version(9)));
    }
}
