//! How a text becomes short messages. Alphabet and segments are here; [`policy`] does what a backend
//! wants done to a text, [`media`] has the URLs that are sent along, [`plain`] makes a text cost less,
//! [`parts`] splits one that is too long, and [`gsm`] writes its octets in the GSM alphabet.
//!
//! The rules are 3GPP TS 23.038 (the GSM 7-bit default alphabet and its extension table, UCS-2)
//! and TS 23.040 (a concatenated message loses six octets of each segment to its header).

pub mod gsm;
pub mod media;
pub mod parts;
pub mod plain;
pub mod policy;

use serde::{Deserialize, Serialize};

/// The GSM 7-bit default alphabet by code point (TS 23.038, 6.2.1). `\u{1b}` is the escape.
const DEFAULT_ALPHABET: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\u{1b}ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡\
                                ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
/// The characters of the extension table by the septet after the escape (TS 23.038, 6.2.1.1). Each costs
/// two septets.
const EXTENSION: [(u8, char); 10] = [
    (0x0a, '\u{c}'),
    (0x14, '^'),
    (0x28, '{'),
    (0x29, '}'),
    (0x2f, '\\'),
    (0x3c, '['),
    (0x3d, '~'),
    (0x3e, ']'),
    (0x40, '|'),
    (0x65, '€'),
];

/// The alphabet that a short message is sent in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

/// How many septets `character` costs. `None` if the alphabet lacks it.
fn septets(character: char) -> Option<usize> {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | ' '..='#' | '%'..='?' => Some(1),
        '\u{1b}' => None,
        _ if DEFAULT_ALPHABET.contains(character) => Some(1),
        _ => EXTENSION.iter().any(|(_, extended)| *extended == character).then_some(2),
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
    /// Whether it has a character that GSM-7 lacks.
    beyond_gsm7: bool,
}

/// A number of units, and how they fill the segments of a concatenated message. Escape sequences and
/// surrogate pairs are never split: one that does not fit begins the next segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Fill {
    units: usize,
    /// Full segments before the last one.
    full: usize,
    in_last: usize,
}

impl Fill {
    /// Adds `characters` characters of one unit each.
    fn add_ones(&mut self, characters: usize, alphabet: Alphabet) {
        self.units += characters;
        let total = self.in_last + characters;
        let more = total.saturating_sub(1) / alphabet.concatenated();
        self.full += more;
        self.in_last = total - more * alphabet.concatenated();
    }

    /// Adds a character of `units` units.
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
        // Nearly all characters take one unit in either alphabet. They are added at once.
        let mut ones = 0;
        for character in text.chars() {
            self.characters += 1;
            match septets(character) {
                Some(1) => ones += 1,
                septets => {
                    self.add_ones(std::mem::take(&mut ones));
                    self.ucs2.add(character.len_utf16(), Alphabet::Ucs2);
                    match septets {
                        Some(septets) => self.gsm7.add(septets, Alphabet::Gsm7),
                        None => self.beyond_gsm7 = true,
                    }
                }
            }
        }
        self.add_ones(ones);
    }

    fn add_ones(&mut self, characters: usize) {
        self.gsm7.add_ones(characters, Alphabet::Gsm7);
        self.ucs2.add_ones(characters, Alphabet::Ucs2);
    }

    fn segmentation(&self) -> Segmentation {
        let (alphabet, fill) =
            if self.beyond_gsm7 { (Alphabet::Ucs2, self.ucs2) } else { (Alphabet::Gsm7, self.gsm7) };
        let segments = if fill.units <= alphabet.single() { 1 } else { fill.full + 1 };
        Segmentation { alphabet, units: fill.units, segments }
    }
}

/// The first `most` characters of `text`, and then `…` if there are more.
pub fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            // 76 of them fill 152 of 153 septets: the escape is not separated from its character.
            ("€".repeat(153), Gsm7, 306, 3),
            ("ç".to_owned(), Ucs2, 1, 1),
            ("я".repeat(70), Ucs2, 70, 1),
            ("я".repeat(71), Ucs2, 71, 2),
            ("я".repeat(134), Ucs2, 134, 2),
            ("😀".repeat(35), Ucs2, 70, 1),
            // 33 of them fill 66 of 67 units: no surrogate pair is split.
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

    proptest! {
        /// A text measures the same whether it is added at once or character by character.
        #[test]
        fn a_text_weighs_what_its_characters_do(text in "([a-z ]{0,200}|€|😀|я|\\[){0,12}") {
            let (mut whole, mut single) = (Meter::default(), Meter::default());
            whole.add(&text);
            for character in text.chars() {
                single.characters += 1;
                match septets(character) {
                    Some(septets) => single.gsm7.add(septets, Alphabet::Gsm7),
                    None => single.beyond_gsm7 = true,
                }
                single.ucs2.add(character.len_utf16(), Alphabet::Ucs2);
            }
            prop_assert_eq!(whole, single);
        }
    }
}
