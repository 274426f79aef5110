//! What a signature is made over: a template over a request's bytes.

use crate::backend::template::{RenderError, Template, uses};
use encoding_rs::mem::decode_latin1;
use minijinja::Value;
use serde::{Deserialize, Deserializer, de};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

/// The text that an HMAC or an Ed25519 signature is made over: a template over the request as it came.
///
/// | name | what it is |
/// | --- | --- |
/// | `body` | the body's bytes |
/// | `timestamp` | the time as the header of `timestamp` has it, without its prefix |
/// | `url` | the address as the provider calls it: `ingress.public_url`, the path and the query |
/// | `query` | the parameters of the query by name, decoded; of several with one name, the last |
/// | `headers` | the headers by their name in lower case; of several with one name, the last |
/// | `parameters` | the names and values of an urlencoded body, decoded, sorted and with nothing between them |
///
/// The filter `sha256` makes the SHA-256 of bytes, in hexadecimal digits.
#[derive(Debug, Clone)]
pub struct SignedText {
    template: Template,
    /// The names that the template uses.
    names: BTreeSet<String>,
}

/// The value that a claim of a token must have: a template like [`SignedText`], over `body`, `url`, `query` and
/// `headers`.
#[derive(Debug, Clone)]
pub struct ClaimText(pub SignedText);

const SIGNED: [&str; 6] = ["body", "timestamp", "url", "query", "headers", "parameters"];
const CLAIM: [&str; 4] = ["body", "url", "query", "headers"];

/// A request as a [`SignedText`] sees it.
#[derive(Default)]
pub struct SignedRequest<'r> {
    /// The body as it came.
    pub body: &'r [u8],
    /// The time as the header of `timestamp` has it, without its prefix.
    pub timestamp: &'r [u8],
    /// The address that the provider calls.
    pub url: &'r str,
    /// The parameters of the query, decoded.
    pub query: &'r [(String, String)],
    /// The headers by their name in lower case.
    pub headers: &'r [(&'r str, &'r [u8])],
    /// The parameters of the body, sorted and put together.
    pub parameters: &'r [u8],
}

impl SignedText {
    fn parse(source: &str, names: &[&str]) -> Result<Self, String> {
        let template = Template::over_bytes(source, names)?;
        let names = uses(source).into_iter().filter_map(|used| used.path.into_iter().next()).collect();
        Ok(Self { template, names })
    }

    /// Whether the template uses `name`.
    pub fn names(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Whether the signed text depends on the request's body.
    pub fn covers_body(&self) -> bool {
        self.names("body") || self.names("parameters")
    }

    /// Whether the signed text depends on the request's path or query.
    pub fn covers_address(&self) -> bool {
        self.names("url") || self.names("query")
    }

    /// The signed bytes of `request`.
    ///
    /// # Errors
    /// [`RenderError`], including when a filter produced characters that are not bytes.
    pub fn bytes(&self, request: &SignedRequest<'_>) -> Result<Vec<u8>, RenderError> {
        let mut scope: BTreeMap<&str, Value> = BTreeMap::new();
        let text = |bytes: &[u8]| Value::from(as_chars(bytes));
        for name in &self.names {
            let value = match name.as_str() {
                "body" => text(request.body),
                "timestamp" => text(request.timestamp),
                "url" => text(request.url.as_bytes()),
                "parameters" => text(request.parameters),
                "query" => table(request.query.iter().map(|(name, value)| (&**name, value.as_bytes()))),
                "headers" => table(request.headers.iter().copied()),
                _ => continue,
            };
            scope.insert(name, value);
        }
        let rendered = self.template.render(&Value::from(scope))?;
        as_bytes(rendered).ok_or_else(RenderError::no_bytes)
    }
}

/// Each byte as the character with its number: templates work on texts, and a body need not be one.
fn as_chars(bytes: &[u8]) -> Cow<'_, str> {
    decode_latin1(bytes)
}

fn table<'r>(values: impl Iterator<Item = (&'r str, &'r [u8])>) -> Value {
    let chars = |bytes| as_chars(bytes).into_owned();
    let values: BTreeMap<_, _> =
        values.map(|(name, value)| (chars(name.as_bytes()), Value::from(chars(value)))).collect();
    Value::from(values)
}

/// The bytes that [`as_chars`] made `text` of. `None` if it holds other characters.
fn as_bytes(text: String) -> Option<Vec<u8>> {
    if text.is_ascii() {
        return Some(text.into_bytes());
    }
    text.chars().map(|character| u8::try_from(character).ok()).collect()
}

impl<'de> Deserialize<'de> for SignedText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = String::deserialize(deserializer)?;
        Self::parse(&source, &SIGNED).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for ClaimText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = String::deserialize(deserializer)?;
        SignedText::parse(&source, &CLAIM).map(Self).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(source: &str) -> SignedText {
        SignedText::parse(source, &SIGNED).unwrap()
    }

    #[test]
    fn what_is_signed_is_made_of_the_requests_bytes() {
        let query = [("a".to_owned(), "é".to_owned())];
        let request = SignedRequest {
            body: b"a=\xff\xc3\xa9&b",
            timestamp: b"1700000000",
            url: "https://h/x?a=%C3%A9",
            query: &query,
            headers: &[("x-nonce", &b"n1"[..]), ("x-other", &b"\xe9"[..])],
            parameters: "aéb".as_bytes(),
        };
        for (source, wanted) in [
            ("{{ body }}", &b"a=\xff\xc3\xa9&b"[..]),
            ("v0:{{ timestamp }}:{{ body }}", b"v0:1700000000:a=\xff\xc3\xa9&b"),
            ("é{{ timestamp }}", "é1700000000".as_bytes()),
            ("{{ 'é' }}|{{ query.a }}|{{ query.absent }}", "é|é|".as_bytes()),
            ("{{ headers['x-nonce'] }}{{ headers['x-other'] }}", b"n1\xe9"),
            (
                "{{ (url ~ '.') if '?' in url else (url ~ '?') }}{{ parameters }}",
                "https://h/x?a=%C3%A9.aéb".as_bytes(),
            ),
            ("{{ url | split('?') | first }}{{ headers['x-nonce'] }}", b"https://h/xn1"),
            ("{{ 'abc' | sha256 }}", b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            ("{{ body | sha256 }}", b"cbcdb472a58aac7dd81e7ae6b3fbcac8c04e6f308e3428107d90eb24d711a342"),
        ] {
            let made = signed(source).bytes(&request).unwrap();
            assert_eq!(String::from_utf8_lossy(&made), String::from_utf8_lossy(wanted), "{source}");
            assert_eq!(made, wanted, "{source}");
        }
        // `upper` makes characters that are not bytes.
        assert!(signed("{{ body | upper }}").bytes(&request).is_err());
    }

    #[test]
    fn what_it_looks_at_is_known() {
        for (source, body, address) in [
            ("{{ timestamp }}.{{ body }}", true, false),
            ("{{ url }}{{ parameters }}", true, true),
            ("{{ query.id }}", false, true),
            ("{{ url | split('?') | first }}", false, true),
            ("{{ headers['x-body'] }}", false, false),
        ] {
            let template = signed(source);
            assert_eq!((template.covers_body(), template.covers_address()), (body, address), "{source}");
        }
        for (source, says) in [
            ("{{ bdy }}", "did you mean body?"),
            ("{{ body | sha265 }}", "unknown filter sha265"),
            ("{body}", "write {{ body }}"),
            ("{{ text }}", "unknown name text"),
        ] {
            let why = SignedText::parse(source, &SIGNED).unwrap_err();
            assert!(why.contains(says), "{source}: {why}");
        }
        assert!(SignedText::parse("{{ timestamp }}", &CLAIM).is_err());
    }
}
