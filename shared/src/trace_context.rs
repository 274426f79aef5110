//! W3C Trace Context: which trace a message belongs to.

use std::borrow::Cow;
use uuid::Uuid;

/// A `traceparent`: `00-<trace id>-<span id>-<flags>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext(String);

impl TraceContext {
    /// The one in `header` where it is valid, else a new one.
    pub fn from_header(header: Option<&str>) -> Self {
        header.and_then(Self::parse).unwrap_or_else(Self::begin)
    }

    /// A new one, which is sampled.
    pub fn begin() -> Self {
        let (trace, span) = (Uuid::new_v4().simple(), Uuid::new_v4().as_u64_pair().0);
        Self(format!("00-{trace}-{span:016x}-01"))
    }

    /// The one that `header` says.
    pub fn parse(header: &str) -> Option<Self> {
        read(header).map(|text| Self(text.into_owned()))
    }

    /// The header's value.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The trace id, 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        trace_id(&self.0)
    }

    /// Whether `header` is one as we write it ourselves.
    pub fn is_ours(header: &str) -> bool {
        matches!(read(header), Some(Cow::Borrowed(read)) if read == header)
    }
}

/// The trace id of a valid `header`; `None` of any other, which is somebody's text.
pub fn id_in(header: &str) -> Option<&str> {
    TraceContext::is_ours(header).then(|| trace_id(header))
}

fn trace_id(valid: &str) -> &str {
    valid.get(3..35).unwrap_or_default()
}

/// A later version is read as far as it is like this one (Trace Context, 4.3).
fn read(header: &str) -> Option<Cow<'_, str>> {
    let header = header.trim();
    let known = header.get(..55)?;
    let mut parts = known.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, length| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let nonzero = |part: &str| part.bytes().any(|b| b != b'0');
    let ends = match version {
        "ff" => false,
        "00" => header.len() == 55,
        _ => header.len() == 55 || header[55..].starts_with('-'),
    };
    let right = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    (right && ends && nonzero(trace) && nonzero(span)).then(|| match version {
        "00" => Cow::Borrowed(known),
        _ => Cow::Owned(format!("00{}", &known[2..])),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_header_is_taken_over() {
        for header in [VALID, &VALID.replacen("00", "cc", 1), &(VALID.replacen("00", "cc", 1) + "-what")] {
            let context = TraceContext::from_header(Some(header));
            assert_eq!(context.as_str(), VALID);
            assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
            assert_eq!(id_in(header).is_some(), header == VALID, "{header}");
        }
    }

    #[test]
    fn anything_else_begins_a_new_trace() {
        for header in [
            None,
            Some(""),
            Some("é".repeat(40).as_str()),
            Some(&VALID.to_uppercase()),
            Some(&VALID.replacen("00", "ff", 1)),
            Some(&format!("{VALID}-more")),
            Some(&VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32))),
            Some(&VALID.replace("00f067aa0ba902b7", &"0".repeat(16))),
            Some(&VALID.replace("b7-01", "b70-1")),
        ] {
            let context = TraceContext::from_header(header);
            assert_ne!(context.trace_id(), &VALID[3..35]);
            assert_eq!(header.and_then(id_in), None);
            assert_eq!(TraceContext::parse(context.as_str()), Some(context.clone()), "{header:?}");
            assert!(context.as_str().ends_with("-01"));
        }
    }
}
