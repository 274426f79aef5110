//! `multipart/form-data` (RFC 7578). Files are not parameters: their parts are skipped.

use super::{
    errors::Errors,
    parameter::{Parameter, ParameterLimits, charset_of},
};
use crate::refusal_reason::RefusalReason;
use bytes::Bytes;
use futures_util::{FutureExt, stream};
use multer::{Field, Multipart};
use std::{borrow::Cow, convert::Infallible};

/// The longest boundary, in characters (RFC 2046, section 5.1.1).
const MAX_BOUNDARY: usize = 70;

/// Reads `body`, which is complete.
pub(super) fn parse(
    content_type: &str,
    body: &Bytes,
    limits: &ParameterLimits,
) -> Result<Vec<Parameter<'static>>, Errors> {
    let boundary = multer::parse_boundary(content_type).ok().or_else(|| unquoted_boundary(content_type));
    let boundary = boundary.unwrap_or_default();
    if boundary.is_empty() || boundary.len() > MAX_BOUNDARY {
        let why = "Content-Type: a multipart body needs a boundary of 1 to 70 characters";
        return Err(Errors::whole(why).because(RefusalReason::Body));
    }
    let whole = stream::iter([Ok::<_, Infallible>(body.clone())]);
    let parts = read(Multipart::new(whole, boundary), limits);
    // The body is complete: if the reader still waits for more, the body is malformed.
    parts.now_or_never().unwrap_or_else(|| Err(malformed()))
}

/// The boundary of a header that has no quotes around characters that need them (RFC 2045, 5.1), as some
/// clients write it.
fn unquoted_boundary(content_type: &str) -> Option<String> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, boundary) = parameter.split_once('=')?;
        let boundary = boundary.trim().trim_matches('"');
        name.trim().eq_ignore_ascii_case("boundary").then(|| boundary.to_owned())
    })
}

fn malformed() -> Errors {
    Errors::whole("the body is not valid multipart/form-data").because(RefusalReason::Body)
}

async fn read(
    mut multipart: Multipart<'_>,
    limits: &ParameterLimits,
) -> Result<Vec<Parameter<'static>>, Errors> {
    let malformed = |_| malformed();
    let mut parameters = Vec::new();
    let mut parts = 0;
    while let Some(mut part) = multipart.next_field().await.map_err(malformed)? {
        parts += 1;
        limits.count(parts)?;
        let name = part.name().filter(|_| !is_file(&part)).map(str::to_owned);
        let declared = part.content_type().and_then(|kind| charset_of(kind.as_ref()));
        let mut raw = Vec::new();
        while let Some(chunk) = part.chunk().await.map_err(malformed)? {
            if let Some(name) = &name {
                limits.sizes(name, raw.len() + chunk.len())?;
                raw.extend_from_slice(&chunk);
            }
        }
        if let Some(name) = name {
            limits.sizes(&name, raw.len())?;
            parameters.push(Parameter { name: Cow::Owned(name), raw: Cow::Owned(raw), charset: declared });
        }
    }
    Ok(parameters)
}

fn is_file(part: &Field<'_>) -> bool {
    part.file_name().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: ParameterLimits = ParameterLimits { max_fields: 3, max_key: 8, max_value: 8 };

    fn read(body: &str) -> Result<Vec<(String, Vec<u8>)>, String> {
        let body = Bytes::from(body.replace('\n', "\r\n"));
        let parameters =
            parse("multipart/form-data; boundary=B", &body, &LIMITS).map_err(|why| why.to_string())?;
        Ok(parameters.into_iter().map(|p| (p.name.into_owned(), p.raw.into_owned())).collect())
    }

    fn part(headers: &str, value: &str) -> String {
        format!("--B\nContent-Disposition: form-data; {headers}\n\n{value}\n")
    }

    #[test]
    fn parts_are_parameters_and_files_are_not() {
        let body = part("name=\"a\"", "1")
            + &part("name=\"f\"; filename=\"f.txt\"", "a long file")
            + &part("name=b", "")
            + "--B--\n";
        assert_eq!(read(&body).unwrap(), [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), Vec::new())]);
        assert_eq!(read("--B--\n").unwrap(), []);
    }

    #[test]
    fn a_part_may_name_its_charset() {
        let body = part("name=\"a\"\nContent-Type: text/plain; charset=iso-8859-1", "1") + "--B--\n";
        let body = Bytes::from(body.replace('\n', "\r\n"));
        let parameters = parse("multipart/form-data; boundary=\"B\"", &body, &LIMITS).unwrap();
        assert_eq!(parameters[0].charset, Some(encoding_rs::WINDOWS_1252));
    }

    #[test]
    fn what_is_cut_off_or_too_much_is_refused() {
        for (body, says) in [
            ("", "not valid"),
            ("--B\n", "not valid"),
            (&part("name=a", "1")[..], "not valid"),
            ("--C\nContent-Disposition: form-data; name=a\n\n1\n--C--\n", "not valid"),
            (&(part("name=a", "1").repeat(4) + "--B--\n"), "at most 3 parameters"),
            (&(part("name=abc", "123456789") + "--B--\n"), "abc: at most 8 bytes"),
            (&(part("name=abcdefghi", "1") + "--B--\n"), "name"),
        ] {
            let why = read(body).unwrap_err();
            assert!(why.contains(says), "{body}: {why}");
        }
        let why = parse("multipart/form-data", &Bytes::new(), &LIMITS).unwrap_err().to_string();
        assert!(why.contains("boundary"), "{why}");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_hang(
            junk in proptest::collection::vec(any::<u8>(), 0..200),
            start in "(--B|\r\n|Content-Disposition: form-data; name=a|--){0,6}",
            end in "(--B|\r\n|--){0,4}",
        ) {
            let body = [start.as_bytes(), &junk, end.as_bytes()].concat();
            let _ = parse("multipart/form-data; boundary=B", &Bytes::from(body), &LIMITS);
        }
    }
}
