//! `name=value&name=value`, in a query or a body, read as the WHATWG URL standard says, except that values
//! stay bytes: a parameter of the same request may name their charset.

use super::{
    errors::Errors,
    parameter::{Parameter, ParameterLimits},
};
use percent_encoding::percent_decode;
use std::borrow::Cow;

/// Reads `input`. An empty part between two `&` is skipped.
pub(super) fn parse<'a>(input: &'a [u8], limits: &ParameterLimits) -> Result<Vec<Parameter<'a>>, Errors> {
    let mut parameters = Vec::new();
    for part in input.split(|byte| *byte == b'&').filter(|part| !part.is_empty()) {
        limits.count(parameters.len() + 1)?;
        let split = part.iter().position(|byte| *byte == b'=').unwrap_or(part.len());
        let name = match decode(&part[..split]) {
            Cow::Borrowed(name) => String::from_utf8_lossy(name),
            Cow::Owned(name) => Cow::Owned(String::from_utf8_lossy(&name).into_owned()),
        };
        let raw = decode(part.get(split + 1..).unwrap_or_default());
        limits.sizes(&name, raw.len())?;
        parameters.push(Parameter { name, raw, charset: None });
    }
    Ok(parameters)
}

/// Decodes `+` to a space and `%XX` to a byte. Any other `%` stays unchanged.
fn decode(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.contains(&b'+') {
        return percent_decode(bytes).into();
    }
    let spaced: Vec<u8> = bytes.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    let decoded = match Cow::from(percent_decode(&spaced)) {
        Cow::Owned(decoded) => Some(decoded),
        Cow::Borrowed(_) => None,
    };
    Cow::Owned(decoded.unwrap_or(spaced))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: ParameterLimits = ParameterLimits { max_fields: 4, max_key: 8, max_value: 8 };

    fn read(input: &str) -> Vec<(String, Vec<u8>)> {
        let parameters = parse(input.as_bytes(), &LIMITS).unwrap();
        parameters.into_iter().map(|p| (p.name.into_owned(), p.raw.into_owned())).collect()
    }

    #[test]
    fn values_are_read_as_browsers_write_them() {
        for (input, expected) in [
            ("", vec![]),
            ("a=1", vec![("a", &b"1"[..])]),
            ("&&a=1&", vec![("a", b"1")]),
            ("a", vec![("a", b"")]),
            ("=1", vec![("", b"1")]),
            ("a=b=c", vec![("a", b"b=c")]),
            ("a+b=c+d", vec![("a b", b"c d")]),
            ("a=%2B%20%26", vec![("a", b"+ &")]),
            ("a=100%", vec![("a", b"100%")]),
            ("a=%zz%4", vec![("a", b"%zz%4")]),
            ("a=%D8%3D%DE%00", vec![("a", b"\xd8\x3d\xde\x00")]),
            ("%FF=1", vec![("\u{fffd}", b"1")]),
        ] {
            let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), v.to_vec())).collect();
            assert_eq!(read(input), expected, "{input}");
        }
    }

    #[test]
    fn each_limit_is_named() {
        for (input, says) in [
            ("a&b&c&d&e", "at most 4 parameters"),
            ("123456789=1", "name"),
            ("abc=123456789", "abc: at most 8 bytes"),
        ] {
            let why = parse(input.as_bytes(), &LIMITS).unwrap_err().to_string();
            assert!(why.contains(says), "{input}: {why}");
        }
        assert!(parse(b"12345678=%31%32345678&b&c&d&&", &LIMITS).is_ok(), "a limit itself is allowed");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(input in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&input, &LIMITS);
        }

        #[test]
        fn what_was_encoded_comes_back(name in "[^\u{0}]{1,2}", value in proptest::collection::vec(any::<u8>(), 0..8)) {
            let encoded = format!(
                "{}={}",
                form_urlencoded::byte_serialize(name.as_bytes()).collect::<String>(),
                form_urlencoded::byte_serialize(&value).collect::<String>(),
            );
            let read = parse(encoded.as_bytes(), &LIMITS).unwrap();
            prop_assert_eq!(&read[0].name, &name);
            prop_assert_eq!(&read[0].raw[..], &value[..]);
        }
    }
}
