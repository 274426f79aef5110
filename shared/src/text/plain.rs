//! Makes typographic punctuation plain: word processors insert it, and it can make a short message cost
//! twice as much.

use super::Alphabet;
use std::borrow::Cow;

/// `text` with plain quotes, dashes, spaces and dots in place of typographic ones, if it then needs only
/// GSM-7: a text with other letters, too, would gain nothing. Letters stay unchanged.
pub fn plain_where_it_saves(text: &str) -> Cow<'_, str> {
    if Alphabet::of(text) == Alphabet::Gsm7 {
        return Cow::Borrowed(text);
    }
    let mut made = String::with_capacity(text.len());
    for character in text.chars() {
        match plain(character) {
            Some(plain) => made.push_str(plain),
            None => made.push(character),
        }
    }
    if Alphabet::of(&made) == Alphabet::Gsm7 { Cow::Owned(made) } else { Cow::Borrowed(text) }
}

fn plain(character: char) -> Option<&'static str> {
    Some(match character {
        '`' | '\u{b4}' | '\u{2018}' | '\u{2019}' | '\u{201b}' | '\u{2032}' | '\u{2039}' | '\u{203a}'
        | '\u{2bc}' => "'",
        '\u{201a}' => ",",
        '\u{201c}'..='\u{201f}' | '\u{2033}' | '\u{ab}' | '\u{bb}' => "\"",
        '\u{2010}'..='\u{2015}' | '\u{2043}' | '\u{2212}' => "-",
        '\u{2026}' => "...",
        '\u{2022}' | '\u{25cf}' => "*",
        '\u{2044}' | '\u{2215}' => "/",
        '\t' | '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => " ",
        '\u{85}' | '\u{2028}' | '\u{2029}' => "\n",
        // Characters without width: they join, separate or direct others, which GSM-7 does not have.
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}' | '\u{feff}' | '\u{ad}' => "",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn punctuation_becomes_plain_where_nothing_else_needs_ucs2() {
        for (text, made) in [
            ("“It’s” — 5…", "\"It's\" - 5..."),
            ("a\u{a0}b\tc\u{3000}d", "a b c d"),
            ("soft\u{ad}hyphen\u{feff}", "softhyphen"),
            ("1\u{2044}2 • `x´", "1/2 * 'x'"),
            ("é — ñ €", "é - ñ €"),
        ] {
            assert_eq!(plain_where_it_saves(text), made);
            assert_eq!(Alphabet::of(made), Alphabet::Gsm7);
        }
    }

    #[test]
    fn a_text_that_gains_nothing_stays_as_it_is() {
        for text in ["plain", "Привет — «мир»…", "São — Tomé", "👨\u{200d}👩 “hi”", ""]
        {
            assert!(matches!(plain_where_it_saves(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }
}
