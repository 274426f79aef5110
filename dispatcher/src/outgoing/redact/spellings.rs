//! The spellings in which an answer may repeat what a request carried: percent-encoded, as a form, JSON or
//! a string of a programming language, HTML, and one within another.

use std::ops::Range;

/// How many spellings may be nested, such as HTML in JSON.
const DEPTH: usize = 2;

/// HTML's names of the ASCII characters that are neither letters nor digits.
const ENTITIES: [(&str, char); 36] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("nbsp", ' '),
    ("sol", '/'),
    ("plus", '+'),
    ("equals", '='),
    ("excl", '!'),
    ("num", '#'),
    ("dollar", '$'),
    ("percnt", '%'),
    ("lpar", '('),
    ("rpar", ')'),
    ("ast", '*'),
    ("midast", '*'),
    ("comma", ','),
    ("period", '.'),
    ("colon", ':'),
    ("semi", ';'),
    ("quest", '?'),
    ("commat", '@'),
    ("lsqb", '['),
    ("lbrack", '['),
    ("bsol", '\\'),
    ("rsqb", ']'),
    ("rbrack", ']'),
    ("Hat", '^'),
    ("lowbar", '_'),
    ("grave", '`'),
    ("lcub", '{'),
    ("verbar", '|'),
    ("vert", '|'),
    ("rcub", '}'),
    ("Tab", '\t'),
];

/// A text after a spelling is undone: each character, and the part of the text that it stands for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct UndoneSpelling(Vec<(char, Range<usize>)>);

/// What the beginning of a text stands for, and how many characters of the text that is.
type Undo = fn(&[char]) -> Option<(char, usize)>;

/// `text` decoded as part of a URL's path, and as part of its query, each if that changes it.
pub(super) fn without_escapes(text: &str) -> impl Iterator<Item = String> {
    let as_it_is = UndoneSpelling::of(&text.chars().collect::<Vec<_>>());
    let undone = [percent as Undo, form].map(|undo| as_it_is.undone(undo));
    undone.into_iter().flatten().map(|undone| undone.0.into_iter().map(|(c, _)| c).collect())
}

/// Every way to read `text`: unchanged, and with each spelling undone.
pub(super) fn readings(text: &[char]) -> Vec<UndoneSpelling> {
    let mut all = vec![UndoneSpelling::of(text)];
    let mut begin = 0;
    for _ in 0..DEPTH {
        let end = all.len();
        for at in begin..end {
            for undo in [percent as Undo, form, backslash, entity] {
                if let Some(undone) = all[at].undone(undo)
                    && !all.contains(&undone)
                {
                    all.push(undone);
                }
            }
        }
        begin = end;
    }
    all
}

impl UndoneSpelling {
    /// The unchanged text.
    fn of(text: &[char]) -> Self {
        Self(text.iter().enumerate().map(|(at, c)| (*c, at..at + 1)).collect())
    }

    /// The places of `secrets` in the text.
    pub(super) fn find(&self, secrets: &[Vec<char>]) -> Vec<Range<usize>> {
        let mut places = Vec::new();
        for at in 0..self.0.len() {
            let rest = &self.0[at..];
            for secret in secrets {
                let here =
                    secret.len() <= rest.len() && secret.iter().zip(rest).all(|(c, (found, _))| c == found);
                if here && let Some((_, last)) = rest.get(secret.len() - 1) {
                    places.push(rest[0].1.start..last.end);
                }
            }
        }
        places
    }

    /// The text with one more spelling undone. `None` if that changes nothing.
    fn undone(&self, undo: Undo) -> Option<Self> {
        let chars: Vec<char> = self.0.iter().map(|(c, _)| *c).collect();
        let mut undone = Vec::with_capacity(chars.len());
        let mut at = 0;
        while at < chars.len() {
            let (c, length) = undo(&chars[at..]).unwrap_or((chars[at], 1));
            undone.push((c, self.0[at].1.start..self.0[at + length - 1].1.end));
            at += length;
        }
        let undone = Self(undone);
        (undone != *self).then_some(undone)
    }
}

/// Undoes `%2F` or `%2f`; a character beyond ASCII takes several of them.
fn percent(text: &[char]) -> Option<(char, usize)> {
    let mut octets = Vec::new();
    for (number, digits) in text.chunks_exact(3).take(4).enumerate() {
        let ['%', high, low] = digits else { return None };
        octets.push(u8::try_from(high.to_digit(16)? * 16 + low.to_digit(16)?).ok()?);
        if let Ok(decoded) = std::str::from_utf8(&octets) {
            return Some((decoded.chars().next()?, 3 * (number + 1)));
        }
    }
    None
}

/// Undoes percent-encoding, and `+` for a space.
fn form(text: &[char]) -> Option<(char, usize)> {
    if text.first() == Some(&'+') { Some((' ', 1)) } else { percent(text) }
}

/// Undoes `\/`, `\"`, `\n`, `\u002f`, `\x2f`: JSON, PHP, JavaScript and Python.
fn backslash(text: &[char]) -> Option<(char, usize)> {
    let ['\\', kind, ..] = text else { return None };
    let unit = |at: usize, length: usize| {
        let digits: String = text.get(at..at + length)?.iter().collect();
        let right = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        if right { u16::from_str_radix(&digits, 16).ok() } else { None }
    };
    match kind {
        'u' => {
            let first = unit(2, 4)?;
            let low = || (text.get(6..8)? == ['\\', 'u']).then(|| unit(8, 4))?;
            let single = char::decode_utf16([first]).next()?.ok().map(|c| (c, 6));
            single.or_else(|| Some((char::decode_utf16([first, low()?]).next()?.ok()?, 12)))
        }
        'x' => Some((char::from(u8::try_from(unit(2, 2)?).ok()?), 4)),
        'n' => Some(('\n', 2)),
        't' => Some(('\t', 2)),
        'r' => Some(('\r', 2)),
        c if !c.is_alphanumeric() => Some((*c, 2)),
        _ => None,
    }
}

/// Undoes `&amp;`, `&#47;`, `&#x2F;`.
fn entity(text: &[char]) -> Option<(char, usize)> {
    if text.first() != Some(&'&') {
        return None;
    }
    let length = text.iter().take(12).position(|c| *c == ';')?;
    let name: String = text[1..length].iter().collect();
    let c = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)?
        }
        None => ENTITIES.iter().find(|(known, _)| *known == name)?.1,
    };
    Some((c, length + 1))
}
