//! XML bodies, read into the JSON values that represent them.

use super::{
    errors::Errors,
    parameter::{ParameterLimits, too_much},
};
use crate::refusal_reason::RefusalReason;
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};
use postern_shared::read::{JsonLimits, XmlNotTaken, xml_within};
use serde_json::Value;

/// Whether a media type is XML: `application/xml`, the old `text/xml`, or any with the suffix of RFC 7303.
pub(super) fn is_xml(essence: &str) -> bool {
    matches!(essence, "application/xml" | "text/xml")
        || (essence.starts_with("application/") && essence.ends_with("+xml"))
}

/// Reads an XML body within `limits`: every element and every attribute, at any depth, counts as a parameter.
/// The charset is that of the byte order mark, else `charset`, else the one that the body shows or declares,
/// else UTF-8.
///
/// # Errors
/// What is wrong, for the client.
pub(super) fn read_xml(
    body: &[u8],
    charset: Option<&'static Encoding>,
    limits: &ParameterLimits,
) -> Result<Value, Errors> {
    let marked = Encoding::for_bom(body).map(|(charset, _)| charset);
    let charset = marked.or(charset).or_else(|| declared(body)).unwrap_or(UTF_8);
    read_xml_text(&charset.decode_with_bom_removal(body).0, limits)
}

/// Reads an XML text like [`read_xml`].
///
/// # Errors
/// What is wrong, for the client.
pub(super) fn read_xml_text(text: &str, limits: &ParameterLimits) -> Result<Value, Errors> {
    let ParameterLimits { max_fields, max_key, max_value } = limits;
    let most = JsonLimits { values: *max_fields, name: *max_key, text: *max_value };
    xml_within(text, most).map_err(|why| match why {
        XmlNotTaken::Values => too_much(format!("at most {max_fields} parameters are accepted")),
        XmlNotTaken::Name => too_much(format!("a parameter's name may have at most {max_key} bytes")),
        XmlNotTaken::Text => too_much(format!("a value may have at most {max_value} bytes")),
        why => {
            let reason = if why.is_too_much() { RefusalReason::Size } else { RefusalReason::Xml };
            Errors::whole(format!("the body {why}")).because(reason)
        }
    })
}

/// The UTF-16 that the first bytes of `body` show, else the charset that its XML declaration names, if it is
/// known.
fn declared(body: &[u8]) -> Option<&'static Encoding> {
    const LONGEST: usize = 200;
    match body {
        [b'<', 0, ..] => return Some(UTF_16LE),
        [0, b'<', ..] => return Some(UTF_16BE),
        _ => {}
    }
    let declaration = body.trim_ascii_start().strip_prefix(b"<?xml")?;
    let declaration = String::from_utf8_lossy(&declaration[..declaration.len().min(LONGEST)]);
    let (_, label) = declaration.split_once("?>")?.0.split_once("encoding")?;
    let label = label.trim_start().strip_prefix('=')?.trim_start();
    let quote = label.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    Encoding::for_label_no_replacement(label[1..].split(quote).next()?.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use encoding_rs::WINDOWS_1252;

    const LIMITS: ParameterLimits = ParameterLimits { max_fields: 3, max_key: 8, max_value: 8 };

    fn text(body: &[u8], charset: Option<&'static Encoding>) -> String {
        let read = read_xml(body, charset, &LIMITS);
        read.map_or_else(|why| why.to_string(), |value| value["a"].as_str().unwrap().to_owned())
    }

    #[test]
    fn the_charset_is_the_configured_the_declared_or_utf_8() {
        let utf_16: Vec<u8> = "<a>é</a>".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let latin = b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9</a>";
        for (body, charset, wanted) in [
            ("<a>é</a>".as_bytes(), None, "é"),
            (b"<a>\xe9</a>", None, "\u{fffd}"),
            (b"<a>\xe9</a>", Some(WINDOWS_1252), "é"),
            (latin, None, "é"),
            ("<?xml encoding = \"iso-8859-1\" ?><a>é</a>".as_bytes(), Some(UTF_8), "é"),
            ("\u{feff}<a>é</a>".as_bytes(), Some(WINDOWS_1252), "é"),
            (&utf_16, None, "é"),
            (b"<?xml encoding=\"martian\"?><a>x</a>", None, "x"),
        ] {
            assert_eq!(text(body, charset), wanted, "{body:?} {charset:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_from_what_is_too_much() {
        for (body, says, reason) in [
            ("<a", "the body is incomplete XML", RefusalReason::Xml),
            ("<!DOCTYPE a><a/>", "the body declares a document type", RefusalReason::Xml),
            ("<a><b/><b/><b/></a>", "at most 3 parameters", RefusalReason::Size),
            ("<a>123456789</a>", "at most 8 bytes", RefusalReason::Size),
        ] {
            let why = read_xml(body.as_bytes(), None, &LIMITS).unwrap_err();
            assert!(why.to_string().contains(says), "{body}: {why}");
            assert_eq!(why.reason(), reason, "{body}");
        }
    }

    #[test]
    fn media_types_of_xml_are_known() {
        for (essence, is) in [("text/xml", true), ("application/soap+xml", true), ("text/html", false)] {
            assert_eq!(is_xml(essence), is, "{essence}");
        }
    }
}
