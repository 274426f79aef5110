//! How a text becomes short messages: alphabet and segments here, what makes it cost less in
//! [`plain`], the parts of one that is too long in [`parts`].
//!
//! The rules are 3GPP TS 23.038 (the GSM 7-bit default alphabet and its extension table, UCS-2)
//! and TS 23.040 (a concatenated message loses six octets of each segment to its header).

pub mod parts;
pub mod plain;

use serde::Serialize;

/// The GSM 7-bit default alphabet by code point (TS 23.038, 6.2.1), `\u{1b}` being the escape.
const DEFAULT_ALPHABET: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\u{1b}ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡\
                                ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// What an escape makes of a second septet (TS 23.038, 6.2.1.1): each costs two.
const EXTENSION: &str = "\u{c}^{}\\[~]|€";

/// The alphabet that a short message is sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Alphabet {
    /// The GSM 7-bit default alphabet with its extension table; the unit is a septet.
    Gsm7,
    /// UCS-2, in practice UTF-16; the unit is a UTF-16 code unit.
    Ucs2,
}

impl Alphabet {
    /// The alphabet that `text` needs.
    pub fn of(text: &str) -> Self {
        if text.chars().all(|character| septets(character).is_some()) { Self::Gsm7 } else { Self::Ucs2 }
    }

    /// The units that a message of one segment holds.
    pub fn single(self) -> usize {
        match self {
            Self::Gsm7 => 160,
            Self::Ucs2 => 70,
        }
    }

    /// The units that each segment of a concatenated message holds.
    pub fn concatenated(self) -> usize {
        match self {
            Self::Gsm7 => 153,
            Self::Ucs2 => 67,
        }
    }
}

/// How many septets `character` costs; `None` where the alphabet does not have it.
fn septets(character: char) -> Option<usize> {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | ' '..='#' | '%'..='?' => Some(1),
        '\u{1b}' => None,
        _ if DEFAULT_ALPHABET.contains(character) => Some(1),
        _ => EXTENSION.contains(character).then_some(2),
    }
}

/// What sending a text costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segmentation {
    /// The alphabet that it needs.
    pub alphabet: Alphabet,
    /// Its length in the alphabet's units.
    pub units: usize,
    /// How many short messages it takes; an empty text takes one.
    pub segments: usize,
}

/// What sending `text` costs.
pub fn segmentation(text: &str) -> Segmentation {
    let mut meter = Meter::default();
    meter.add(text);
    meter.segmentation()
}

/// Measures a text that grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Meter {
    /// Unicode scalar values.
    characters: usize,
    gsm7: Fill,
    ucs2: Fill,
    /// Something is in it that GSM-7 does not have.
    beyond_gsm7: bool,
}

/// Units, and how they fill the segments of a concatenated message. No escape sequence and no
/// surrogate pair is torn: one that does not fit begins the next segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Fill {
    units: usize,
    /// Full segments before the last one.
    full: usize,
    in_last: usize,
}

impl Fill {
    fn add(&mut self, units: usize, alphabet: Alphabet) {
        self.units += units;
        self.in_last += units;
        if self.in_last > alphabet.concatenated() {
            self.full += 1;
            self.in_last = units;
        }
    }
}

impl Meter {
    fn add(&mut self, text: &str) {
        for character in text.chars() {
            self.characters += 1;
            match septets(character) {
                Some(septets) => self.gsm7.add(septets, Alphabet::Gsm7),
                None => self.beyond_gsm7 = true,
            }
            self.ucs2.add(character.len_utf16(), Alphabet::Ucs2);
        }
    }

    fn segmentation(&self) -> Segmentation {
        let (alphabet, fill) =
            if self.beyond_gsm7 { (Alphabet::Ucs2, self.ucs2) } else { (Alphabet::Gsm7, self.gsm7) };
        let segments = if fill.units <= alphabet.single() { 1 } else { fill.full + 1 };
        Segmentation { alphabet, units: fill.units, segments }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(text: &str) -> (Alphabet, usize, usize) {
        let Segmentation { alphabet, units, segments } = segmentation(text);
        (alphabet, units, segments)
    }

    #[test]
    fn the_default_alphabet_has_128_places() {
        assert_eq!(DEFAULT_ALPHABET.chars().count(), 128);
    }

    #[test]
    fn lengths_and_segments_are_those_of_the_standard() {
        use Alphabet::{Gsm7, Ucs2};
        for (text, alphabet, units, segments) in [
            (String::new(), Gsm7, 0, 1),
            ("é@£ñ\n".to_owned(), Gsm7, 5, 1),
            ("€[]".to_owned(), Gsm7, 6, 1),
            ("a".repeat(160), Gsm7, 160, 1),
            ("a".repeat(161), Gsm7, 161, 2),
            ("a".repeat(306), Gsm7, 306, 2),
            ("a".repeat(307), Gsm7, 307, 3),
            ("€".repeat(80), Gsm7, 160, 1),
            // 76 of them fill 152 of 153 septets: the escape is not torn from its character.
            ("€".repeat(153), Gsm7, 306, 3),
            ("ç".to_owned(), Ucs2, 1, 1),
            ("я".repeat(70), Ucs2, 70, 1),
            ("я".repeat(71), Ucs2, 71, 2),
            ("я".repeat(134), Ucs2, 134, 2),
            ("😀".repeat(35), Ucs2, 70, 1),
            // 33 of them fill 66 of 67 units: no surrogate pair is torn.
            ("😀".repeat(67), Ucs2, 134, 3),
        ] {
            assert_eq!(
                cost(&text),
                (alphabet, units, segments),
                "{} × {:?}",
                text.chars().count(),
                text.chars().next()
            );
        }
    }
}
