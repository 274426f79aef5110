//! Texts in XML, and what their references stand for.

use std::borrow::Cow;

/// A text of an element or an attribute, as far as it was read.
#[derive(Default)]
pub(super) struct XmlText {
    text: String,
    /// The first half of a surrogate pair, each half of which is written as a reference.
    half: Option<u16>,
}

impl XmlText {
    /// Its length so far, in bytes.
    pub(super) fn len(&self) -> usize {
        self.text.len()
    }

    /// Adds `text` without references.
    pub(super) fn add(&mut self, text: &str) {
        if !text.is_empty() {
            self.end_half();
            self.text.push_str(text);
        }
    }

    /// Adds half of a surrogate pair. Two halves that belong together become one character.
    pub(super) fn add_half(&mut self, unit: u16) {
        match self.half.take() {
            Some(first) => match char::decode_utf16([first, unit]).next() {
                Some(Ok(whole)) => self.text.push(whole),
                _ => {
                    self.text.push(char::REPLACEMENT_CHARACTER);
                    self.half = Some(unit);
                }
            },
            None => self.half = Some(unit),
        }
    }

    fn end_half(&mut self) {
        if self.half.take().is_some() {
            self.text.push(char::REPLACEMENT_CHARACTER);
        }
    }

    /// The whole text.
    pub(super) fn into_string(mut self) -> String {
        self.end_half();
        self.text
    }
}

/// The meaning of a reference: of what is between `&` and `;`.
pub(super) enum Meaning {
    Char(char),
    /// Half of a surrogate pair: some senders write each UTF-16 unit as a character.
    Half(u16),
    /// A number that is no character: NUL, or beyond Unicode.
    Nothing,
    Unknown,
}

impl Meaning {
    /// The meaning of `&name;`.
    pub(super) fn of(name: &str) -> Self {
        let number = match name.strip_prefix('#') {
            Some(number) => match number.strip_prefix(['x', 'X']) {
                Some(hexadecimal) => u32::from_str_radix(hexadecimal, 16),
                None => number.parse(),
            },
            None => {
                return match name {
                    "amp" => Self::Char('&'),
                    "lt" => Self::Char('<'),
                    "gt" => Self::Char('>'),
                    "quot" => Self::Char('"'),
                    "apos" => Self::Char('\''),
                    _ => Self::Unknown,
                };
            }
        };
        match number {
            Err(_) => Self::Unknown,
            Ok(0) => Self::Nothing,
            Ok(unit @ 0xD800..=0xDFFF) => u16::try_from(unit).map_or(Self::Nothing, Self::Half),
            Ok(number) => char::from_u32(number).map_or(Self::Nothing, Self::Char),
        }
    }

    pub(super) fn text(self, name: &str) -> Cow<'static, str> {
        match self {
            Self::Char(c) => c.to_string().into(),
            Self::Half(_) => "\u{fffd}".into(),
            Self::Nothing => "".into(),
            Self::Unknown => format!("&{name};").into(),
        }
    }
}

/// `value`, that of an attribute, with its references replaced.
pub(super) fn unescaped(value: &str) -> String {
    let mut plain = XmlText::default();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('&') {
        plain.add(before);
        // The longest reference that means anything is `&#x10FFFF;`.
        let end = after.bytes().take(10).position(|byte| byte == b';');
        match end.map(|end| (Meaning::of(&after[..end]), &after[end + 1..], &after[..end])) {
            Some((Meaning::Half(unit), behind, _)) => {
                plain.add_half(unit);
                rest = behind;
            }
            Some((meaning, behind, name)) => {
                plain.add(&meaning.text(name));
                rest = behind;
            }
            None => {
                plain.add("&");
                rest = after;
            }
        }
    }
    plain.add(rest);
    plain.into_string()
}
