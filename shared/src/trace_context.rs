//! W3C Trace Context: which trace a message belongs to.

use std::borrow::Cow;
use uuid::Uuid;

/// The name of the header that says which trace something belongs to, in HTTP and in a queue.
pub const TRACEPARENT: &str = "traceparent";
/// The name of the header with what tracing systems on the way noted about the trace.
pub const TRACESTATE: &str = "tracestate";

/// The longest `tracestate` that is passed on, in bytes: Trace Context, 3.3.1.5, asks for at least 512. A
/// longer one is left out.
const MAX_STATE: usize = 512;
/// The most members of a `tracestate`: Trace Context, 3.3.1.1.
const MAX_MEMBERS: usize = 32;
/// The character before the trace in a segment of a path. No token contains it.
const IN_PATH: char = '~';

/// Which trace something belongs to: a `traceparent`, `00-<trace id>-<span id>-<flags>`, and the
/// `tracestate` that came with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceContext {
    parent: String,
    state: Option<String>,
}

impl TraceContext {
    /// A new trace, which is sampled.
    pub fn begin() -> Self {
        // No formatter: it took 3,700 of the 44,000 instructions for a message that is accepted.
        let mut parent = String::with_capacity(55);
        let mut digits = Uuid::encode_buffer();
        parent.push_str("00-");
        parent.push_str(Uuid::new_v4().simple().encode_lower(&mut digits));
        parent.push('-');
        parent.push_str(&Uuid::new_v4().simple().encode_lower(&mut digits)[..16]);
        parent.push_str("-01");
        Self { parent, state: None }
    }

    /// The trace in `parent`, the value of a `traceparent`. `None` if that is not valid.
    pub fn parse(parent: &str) -> Option<Self> {
        read(parent).map(|text| Self { parent: text.into_owned(), state: None })
    }

    /// The same trace with `state` as its `tracestate`, or without one if `state` is not valid.
    #[must_use]
    pub fn with_state(self, state: &str) -> Self {
        Self { state: is_state(state).then(|| state.trim().to_owned()), ..self }
    }

    /// The value of the header `traceparent`.
    pub fn as_str(&self) -> &str {
        &self.parent
    }

    /// The value of the header `tracestate`. `None` if nothing was noted.
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The trace id, 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        trace_id(&self.parent)
    }

    /// Whether `header` is a `traceparent` exactly as Postern writes it.
    pub fn is_ours(header: &str) -> bool {
        matches!(read(header), Some(Cow::Borrowed(read)) if read == header)
    }

    /// The ending that adds the trace to a segment of a path. [`from_path`] removes it.
    pub fn in_path(&self) -> String {
        format!("{IN_PATH}{}", self.parent)
    }
}

/// Splits a `segment` of a path into what comes before the trace, and the trace if there is one.
pub fn from_path(segment: &str) -> (&str, Option<TraceContext>) {
    match segment.rsplit_once(IN_PATH).map(|(before, trace)| (before, TraceContext::parse(trace))) {
        Some((before, trace @ Some(_))) => (before, trace),
        _ => (segment, None),
    }
}

/// Whether `header` is a `tracestate` that may be passed on: a list of `key=value` in visible ASCII.
pub fn is_state(header: &str) -> bool {
    let members = || header.split(',').map(str::trim).filter(|member| !member.is_empty());
    let is_member = |member: &str| {
        let pair = member.split_once('=');
        pair.is_some_and(|(key, value)| {
            let key_is_valid = !key.is_empty() && key.len() <= 256 && key.bytes().all(is_key_byte);
            key_is_valid && !value.is_empty() && value.len() <= 256 && !value.contains('=')
        })
    };
    let is_visible = header.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    header.len() <= MAX_STATE
        && is_visible
        && (1..=MAX_MEMBERS).contains(&members().count())
        && members().all(is_member)
}

fn is_key_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'*' | b'/' | b'@')
}

/// The trace id in `header`. `None` if `header` is not a `traceparent` as Postern writes it, and so may
/// be anybody's text.
pub fn id_in(header: &str) -> Option<&str> {
    TraceContext::is_ours(header).then(|| trace_id(header))
}

fn trace_id(valid: &str) -> &str {
    valid.get(3..35).unwrap_or_default()
}

/// Reads a `traceparent`. Of a later version, the part that version 00 has, too, is read (Trace Context,
/// 4.3).
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
            let context = TraceContext::parse(header).unwrap();
            assert_eq!((context.as_str(), context.state()), (VALID, None));
            assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
            assert_eq!(id_in(header).is_some(), header == VALID, "{header}");
        }
    }

    #[test]
    fn any_other_header_is_no_trace() {
        for header in [
            "",
            "é".repeat(40).as_str(),
            &VALID.to_uppercase(),
            &VALID.replacen("00", "ff", 1),
            &format!("{VALID}-more"),
            &VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &VALID.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &VALID.replace("b7-01", "b70-1"),
        ] {
            assert_eq!((TraceContext::parse(header), id_in(header)), (None, None), "{header}");
        }
        let begun = TraceContext::begin();
        assert_eq!(TraceContext::parse(begun.as_str()), Some(begun.clone()));
        assert!(begun.as_str().ends_with("-01"));
    }

    #[test]
    fn a_valid_state_goes_along_and_another_is_left_out() {
        let with = |state: &str| TraceContext::parse(VALID).unwrap().with_state(state);
        for state in ["rojo=00f067aa0ba902b7", "rojo=1, congo=t61rcWkgMzE", "fw529a3039@dt=FfAA/b:x"] {
            assert_eq!(with(state).state(), Some(state));
        }
        let (long, many) = (format!("a={}", "x".repeat(600)), "a=1,".repeat(33));
        for state in ["", " , ", "rojo", "=1", "Rojo=1", "rojo=", "a=1=2", "a=\u{e9}", "a=1\nb", &long, &many]
        {
            assert_eq!(with(state).state(), None, "{state}");
        }
    }

    #[test]
    fn a_trace_goes_along_in_a_path() {
        let trace = TraceContext::parse(VALID).unwrap();
        for token in ["", "abc_-."] {
            let segment = format!("{token}{}", trace.in_path());
            assert_eq!(from_path(&segment), (token, Some(trace.clone())));
        }
        for segment in ["abc", "abc~", "abc~00-1-2-03"] {
            assert_eq!(from_path(segment), (segment, None));
        }
    }
}
