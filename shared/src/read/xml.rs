//! Reads an XML text that a stranger wrote as the JSON value that stands for it, so that everything that
//! reads JSON reads XML, too.
//!
//! | XML | JSON |
//! | --- | --- |
//! | an element | a member of its parent, under its name without a prefix; the outermost is the only member of an object |
//! | several elements of one name | a list under that name |
//! | an element that contains only text | the text |
//! | any other element | an object: its elements, each attribute as `@name`, its text as `#text` |
//!
//! `<sms id="7"><to>1</to><to>2</to></sms>` is `{"sms": {"@id": "7", "to": ["1", "2"]}}`.
//!
//! A document type is refused, so no entity is ever expanded and nothing outside the text is read. What
//! a person wrote is read even if a sender failed to escape it: an `&` that begins no reference, an
//! unknown reference and characters that XML cannot hold stay unchanged.

mod text;

use super::{JsonLimits, without_byte_order_mark};
use quick_xml::{
    Reader,
    errors::Error as ReaderError,
    events::{BytesRef, BytesStart, Event},
};
use serde_json::{Map, Value};
use text::{Meaning, XmlText, unescaped};

/// The most levels of nested elements.
const MAX_DEPTH: usize = 64;
/// The member that holds the text of an element which has attributes or elements, too.
const TEXT: &str = "#text";

/// Why an XML text is not taken. The error contains nothing of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XmlNotTaken {
    /// It is not XML.
    #[error("is not valid XML (line {line}, column {column})")]
    Invalid {
        /// The line of the text, from 1.
        line: usize,
        /// The column in that line, from 1, in characters.
        column: usize,
    },
    /// It ends within an element, or before the first.
    #[error("is incomplete XML")]
    Incomplete,
    /// It declares a document type.
    #[error("declares a document type, which is not accepted: remove <!DOCTYPE …>")]
    DocumentType,
    /// Its elements are nested too deeply.
    #[error("is nested too deeply (at most {MAX_DEPTH} levels)")]
    Depth,
    /// It has more elements and attributes than [`JsonLimits::values`].
    #[error("has too many elements and attributes")]
    Values,
    /// The name of an element or an attribute is too long.
    #[error("has a name that is too long")]
    Name,
    /// The text of an element or an attribute is too long.
    #[error("has a text that is too long")]
    Text,
}

impl XmlNotTaken {
    /// Whether the text is over a limit, and not wrong in itself.
    pub fn is_too_much(&self) -> bool {
        matches!(self, Self::Depth | Self::Values | Self::Name | Self::Text)
    }
}

/// Whether `text` may be XML: it begins with `<`, as no JSON does.
pub fn looks_like_xml(text: &[u8]) -> bool {
    without_byte_order_mark(text).trim_ascii_start().first() == Some(&b'<')
}

/// Reads the XML `text` as the JSON value that stands for it. It stops at the first thing that is over a
/// limit, so that what comes after it costs nothing. A charset that `text` declares is ignored.
///
/// ```
/// use postern_shared::read::{JsonLimits, xml_within};
///
/// let limits = JsonLimits { values: 10, name: 10, text: 100 };
/// let value = xml_within("<sms id='7'><from>+1555</from></sms>", limits).unwrap();
/// assert_eq!(value.pointer("/sms/from").unwrap(), "+1555");
/// assert_eq!(value.pointer("/sms/@id").unwrap(), "7");
/// ```
///
/// # Errors
/// [`XmlNotTaken`] if `text` is not XML or is over one of the `limits`.
pub fn xml_within(text: &str, limits: JsonLimits) -> Result<Value, XmlNotTaken> {
    let mut reader = Reader::from_str(text);
    reader.config_mut().allow_dangling_amp = true;
    let mut tree = Tree { limits, values: 0, open: Vec::new(), root: None };
    loop {
        let event = reader.read_event().map_err(|error| match error {
            ReaderError::IllFormed(_) | ReaderError::Syntax(_) if at_end(&reader, text) => {
                XmlNotTaken::Incomplete
            }
            _ => invalid_at(text, reader.error_position()),
        })?;
        let taken = match event {
            Event::Start(tag) => tree.open(&tag),
            Event::Empty(tag) => tree.open(&tag).and_then(|()| tree.close()),
            Event::End(_) => tree.close(),
            Event::Text(part) => tree.text(&part.xml10_content().unwrap_or_default()),
            Event::CData(part) => tree.text(&part.xml10_content().unwrap_or_default()),
            Event::GeneralRef(reference) => tree.reference(&reference),
            Event::DocType(_) => Err(Stop::For(XmlNotTaken::DocumentType)),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => Ok(()),
            Event::Eof => break,
        };
        taken.map_err(|stop| match stop {
            Stop::Invalid => invalid_at(text, reader.buffer_position()),
            Stop::For(why) => why,
        })?;
    }
    tree.root.filter(|_| tree.open.is_empty()).ok_or(XmlNotTaken::Incomplete)
}

/// Whether the reader reached the end of `text`, so that its last part is incomplete.
fn at_end(reader: &Reader<&[u8]>, text: &str) -> bool {
    usize::try_from(reader.buffer_position()).is_ok_and(|position| position >= text.len())
}

fn invalid_at(text: &str, position: u64) -> XmlNotTaken {
    let position = usize::try_from(position).unwrap_or(usize::MAX).min(text.len());
    let before = &text.as_bytes()[..position];
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
    XmlNotTaken::Invalid { line, column }
}

/// Why reading stops: the XML is not valid at the place that was reached, or another reason.
enum Stop {
    Invalid,
    For(XmlNotTaken),
}

/// What was read so far.
struct Tree {
    limits: JsonLimits,
    values: usize,
    /// The elements that were begun and not ended, the outermost first.
    open: Vec<Element>,
    root: Option<Value>,
}

#[derive(Default)]
struct Element {
    name: String,
    members: Map<String, Value>,
    /// Whether a member is an element. Blanks between elements are not text.
    has_elements: bool,
    text: XmlText,
}

impl Tree {
    fn open(&mut self, tag: &BytesStart<'_>) -> Result<(), Stop> {
        if self.root.is_some() {
            return Err(Stop::Invalid);
        }
        if self.open.len() == MAX_DEPTH {
            return Err(Stop::For(XmlNotTaken::Depth));
        }
        let name = self.named("", tag.local_name().as_ref())?;
        let mut members = Map::new();
        for attribute in tag.attributes().with_checks(false) {
            let attribute = attribute.map_err(|_| Stop::Invalid)?;
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            let name = self.named("@", attribute.key.local_name().as_ref())?;
            if attribute.value.len() > self.limits.text {
                return Err(Stop::For(XmlNotTaken::Text));
            }
            members.insert(name, unescaped(&String::from_utf8_lossy(&attribute.value)).into());
        }
        self.open.push(Element { name, members, ..Element::default() });
        Ok(())
    }

    /// Counts one more value and returns its name, with `mark` in front.
    fn named(&mut self, mark: &str, name: &[u8]) -> Result<String, Stop> {
        self.values += 1;
        if self.values > self.limits.values {
            return Err(Stop::For(XmlNotTaken::Values));
        }
        if name.len() > self.limits.name {
            return Err(Stop::For(XmlNotTaken::Name));
        }
        if name.is_empty() {
            return Err(Stop::Invalid);
        }
        Ok([mark, &String::from_utf8_lossy(name)].concat())
    }

    fn close(&mut self) -> Result<(), Stop> {
        let element = self.open.pop().ok_or(Stop::Invalid)?;
        let Element { name, mut members, has_elements, text } = element;
        let text = text.into_string();
        let value = if members.is_empty() {
            Value::String(text)
        } else {
            if !has_elements || !text.trim().is_empty() {
                members.insert(TEXT.to_owned(), text.into());
            }
            Value::Object(members)
        };
        match self.open.last_mut() {
            Some(parent) => parent.insert(name, value),
            None => self.root = Some(Value::Object(Map::from_iter([(name, value)]))),
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), Stop> {
        match self.open.last_mut() {
            Some(element) if element.text.len() + text.len() > self.limits.text => {
                Err(Stop::For(XmlNotTaken::Text))
            }
            Some(element) => {
                element.text.add(text);
                Ok(())
            }
            // Around the outermost element there may be blanks, and what some senders end a text with.
            None if text.chars().all(|c| c.is_whitespace() || c.is_control()) => Ok(()),
            None => Err(Stop::Invalid),
        }
    }

    fn reference(&mut self, reference: &BytesRef<'_>) -> Result<(), Stop> {
        let name = String::from_utf8_lossy(reference);
        match (Meaning::of(&name), self.open.last_mut()) {
            (Meaning::Half(_), Some(element)) if element.text.len() >= self.limits.text => {
                Err(Stop::For(XmlNotTaken::Text))
            }
            (Meaning::Half(unit), Some(element)) => {
                element.text.add_half(unit);
                Ok(())
            }
            (meaning, _) => self.text(&meaning.text(&name)),
        }
    }
}

impl Element {
    fn insert(&mut self, name: String, value: Value) {
        self.has_elements = true;
        match self.members.get_mut(&name) {
            Some(Value::Array(items)) => items.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
            None => drop(self.members.insert(name, value)),
        }
    }
}

#[cfg(test)]
mod tests;
