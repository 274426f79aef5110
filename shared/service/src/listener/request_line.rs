//! Encodes the targets of request lines that are not percent-encoded as they should be (RFC 3986, 2.1).
//!
//! Modems' scripts and small gateways write a person's text into a query without encoding it: `?text=café
//! now`. actix-http refuses the line before any handler sees it, and the message is lost. So the target is
//! encoded before actix-http reads it, but only if it is certain that this is a request line: at the
//! beginning of a connection, and after a request without a body that has been answered, if nothing was
//! read after it until then. No byte of a body is ever changed: its length would no longer be what its head
//! says, and the rest of it could be read as a request.

use super::blank_lines::BlankLines;
use std::mem;

/// The longest request line that is looked at, in bytes; a longer one stays unchanged.
const MAX_LINE: usize = 16 * 1024;

/// How much of a line is kept for the log, in bytes.
const KEPT: usize = 160;
/// The most digits in a segment of a path that the log shows: more may be a telephone number.
const MAX_DIGITS: usize = 4;

/// Follows the heads of a connection, and encodes the targets of their request lines.
#[derive(Debug)]
pub(super) struct RequestLines {
    place: LinePart,
    /// The beginning of the last complete line.
    last: Vec<u8>,
}

/// What the next byte belongs to.
#[derive(Debug)]
enum LinePart {
    /// A request line that has begun with these bytes.
    Line(Vec<u8>),
    /// The headers after the request line.
    Headers(BlankLines),
    /// Nothing yet: a head is complete, and nothing has arrived after it.
    Behind,
    /// Something unknown: a body, or a request that was sent before the last one was answered.
    Unknown,
}

/// What to hand over for bytes that were read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum HandOver {
    /// The same bytes.
    Unchanged,
    /// These bytes, in place of the bytes that were read and those kept before. Empty if the request line
    /// is not complete.
    Instead(Vec<u8>),
}

impl Default for RequestLines {
    fn default() -> Self {
        Self { place: LinePart::Line(Vec::new()), last: Vec::new() }
    }
}

impl RequestLines {
    /// Notes that a request was answered, and whether all of it was read.
    pub(super) fn answered(&mut self, whole: bool) {
        if matches!(self.place, LinePart::Behind) {
            self.place = if whole { LinePart::Line(Vec::new()) } else { LinePart::Unknown };
        }
    }

    /// What to hand over for `bytes`, which were read next and are not empty.
    pub(super) fn read(&mut self, bytes: &[u8]) -> HandOver {
        match &mut self.place {
            LinePart::Line(begun) => {
                let begun = mem::take(begun);
                self.line(begun, bytes)
            }
            LinePart::Headers(_) => {
                self.headers(bytes);
                HandOver::Unchanged
            }
            LinePart::Behind | LinePart::Unknown => {
                self.place = LinePart::Unknown;
                HandOver::Unchanged
            }
        }
    }

    /// The path of the last request line for the log: its first two segments, without anything that looks
    /// like a telephone number, and without the query. Empty if it is not known.
    pub(super) fn path(&self) -> String {
        if matches!(self.place, LinePart::Unknown) {
            return String::new();
        }
        let line = String::from_utf8_lossy(&self.last);
        let target = line.split(' ').nth(1).filter(|target| target.starts_with('/')).unwrap_or_default();
        let path = target.split(['?', '#']).next().unwrap_or_default();
        let shown = |segment: &str| {
            let digits = segment.chars().filter(char::is_ascii_digit).count();
            let fits = digits <= MAX_DIGITS && segment.chars().all(|c| c.is_ascii_graphic());
            format!("/{}", if fits { segment } else { "…" })
        };
        path.split('/').skip(1).take(2).map(shown).collect()
    }

    /// Takes what was kept of an incomplete line.
    pub(super) fn take_rest(&mut self) -> Vec<u8> {
        match mem::replace(&mut self.place, LinePart::Unknown) {
            LinePart::Line(begun) => begun,
            _ => Vec::new(),
        }
    }

    fn line(&mut self, mut begun: Vec<u8>, bytes: &[u8]) -> HandOver {
        let Some(end) = memchr::memchr(b'\n', bytes).map(|at| at + 1) else {
            begun.extend_from_slice(bytes);
            if begun.len() > MAX_LINE {
                self.place = LinePart::Unknown;
                return HandOver::Instead(begun);
            }
            self.place = LinePart::Line(begun);
            return HandOver::Instead(Vec::new());
        };
        let (line, rest) = bytes.split_at(end);
        self.last.clear();
        self.last.extend(begun.iter().chain(line).take(KEPT));
        self.place = LinePart::Headers(BlankLines::behind_a_line());
        self.headers(rest);
        if begun.is_empty() {
            return match encoded(line) {
                None => HandOver::Unchanged,
                Some(line) => HandOver::Instead([&line, rest].concat()),
            };
        }
        begun.extend_from_slice(line);
        let line = encoded(&begun).unwrap_or(begun);
        HandOver::Instead([&line, rest].concat())
    }

    /// Follows the headers in `bytes`.
    fn headers(&mut self, bytes: &[u8]) {
        let LinePart::Headers(lines) = &mut self.place else { return };
        let mut left = 1;
        let end = lines.cut(bytes, &mut left);
        if left == 0 {
            self.place = if end == bytes.len() { LinePart::Behind } else { LinePart::Unknown };
        }
    }
}

/// `line` with its target encoded. `None` if nothing has to be encoded, or if `line` is not a request line
/// for a path (RFC 9112, 3).
///
/// The target is everything between the first blank and the last. Blanks and `#` are encoded only in the
/// query: a server in front of this one ends the path at the first of them, and the path must stay the
/// same.
fn encoded(line: &[u8]) -> Option<Vec<u8>> {
    let text = line.strip_suffix(b"\n").filter(|text| text.len() <= MAX_LINE)?;
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let (method_end, target_end) = (memchr::memchr(b' ', text)?, memchr::memrchr(b' ', text)?);
    let (method, target) = (&text[..method_end], text.get(method_end + 1..target_end)?);
    let is_request = method_end > 0
        && method.iter().all(u8::is_ascii_uppercase)
        && target.starts_with(b"/")
        && matches!(&text[target_end + 1..], b"HTTP/1.1" | b"HTTP/1.0")
        && !target.iter().any(u8::is_ascii_control);
    let query = memchr::memchr(b'?', target).unwrap_or(target.len());
    let is_foreign = |(at, byte): (usize, &u8)| match byte {
        b'"' | b'<' | b'>' | b'`' | 0x80.. => true,
        b' ' | b'#' => at > query,
        _ => false,
    };
    if !is_request || !target.iter().enumerate().any(is_foreign) {
        return None;
    }
    let mut encoded = line[..=method_end].to_vec();
    for (at, byte) in target.iter().enumerate() {
        if is_foreign((at, byte)) {
            encoded.extend_from_slice(percent_encoding::percent_encode_byte(*byte).as_bytes());
        } else {
            encoded.push(*byte);
        }
    }
    encoded.extend_from_slice(&line[method_end + 1 + target.len()..]);
    Some(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(target: &[u8]) -> Vec<u8> {
        [b"GET ", target, b" HTTP/1.1\r\n"].concat()
    }

    #[test]
    fn what_actix_http_refuses_in_a_target_is_encoded() {
        for (target, wanted) in [
            (&b"/x?text=caf\xc3\xa9"[..], "/x?text=caf%C3%A9"),
            (b"/x?text=caf\xe9", "/x?text=caf%E9"),
            (b"/x?text=hi there", "/x?text=hi%20there"),
            (b"/x?text=hi ", "/x?text=hi%20"),
            (b"/x?text=a\"b<c>d`e", "/x?text=a%22b%3Cc%3Ed%60e"),
            (b"/x?text=a#b", "/x?text=a%23b"),
            (b"/x?text=HTTP/1.1 HTTP/1.1", "/x?text=HTTP/1.1%20HTTP/1.1"),
            (b"/x?text=100% \xe9", "/x?text=100%%20%E9"),
            (b"/caf\xc3\xa9", "/caf%C3%A9"),
        ] {
            assert_eq!(encoded(&line(target)), Some(line(wanted.as_bytes())), "{wanted}");
        }
        let bare = b"POST /x?a=\xe9 HTTP/1.0\n";
        assert_eq!(encoded(bare).as_deref(), Some(&b"POST /x?a=%E9 HTTP/1.0\n"[..]));
    }

    #[test]
    fn all_else_stays_as_it_is() {
        for target in [
            &b"/x?text=caf%C3%A9&b={|}\\^[]'"[..],
            b"/",
            b"/x#y",
            b"/x y",
            b"/x?text=a\tb\xe9",
            b"/x?text=a\0b\xe9",
            b"/x?text=a\x7f\xe9",
            b"/x?text=a\rb\xe9",
            b"*",
            b"http://h/?text=\xe9",
            b"",
        ] {
            assert_eq!(encoded(&line(target)), None, "{target:?}");
        }
        for line in [
            &b"GET /x?text=\xe9\r\n"[..],
            b"GET /x?text=\xe9 HTTP/2.0\r\n",
            b"GET /x?text=\xe9 HTTP/1.1 \r\n",
            b"get /x?text=\xe9 HTTP/1.1\r\n",
            b" /x?text=\xe9 HTTP/1.1\r\n",
            b"GET  /x?text=\xe9 HTTP/1.1\r\n",
            b"X: /x?text=\xe9 HTTP/1.1\r\n",
            b"\r\n",
            b"\n",
        ] {
            assert_eq!(encoded(line), None, "{line:?}");
        }
    }

    /// What is handed over of `pieces`; between two of them, the last request is answered and was read as a
    /// whole.
    fn handed_over(pieces: &[&[u8]], step: usize) -> Vec<u8> {
        let (mut lines, mut out) = (RequestLines::default(), Vec::new());
        for piece in pieces {
            for bytes in piece.chunks(step) {
                match lines.read(bytes) {
                    HandOver::Unchanged => out.extend_from_slice(bytes),
                    HandOver::Instead(bytes) => out.extend_from_slice(&bytes),
                }
            }
            lines.answered(true);
        }
        out.extend(lines.take_rest());
        out
    }

    #[test]
    fn the_log_has_no_query_no_number_and_no_secret() {
        for (target, path) in [
            ("/backends/demo?identity=15550100&text=a", "/backends/demo"),
            ("/backends/demo/hush/status", "/backends/demo"),
            ("/sms/+15550100/x", "/sms/…"),
            ("/caf\u{e9}/b\u{7}", "/…/…"),
            ("/", "/"),
            ("*", ""),
            ("http://h/x", ""),
        ] {
            let mut lines = RequestLines::default();
            lines.read(&line(target.as_bytes()));
            assert_eq!(lines.path(), path, "{target}");
            lines.read(b"\r\nbody");
            assert_eq!(lines.path(), "");
        }
        let mut lines = RequestLines::default();
        lines.read(b"hello\r\n");
        assert_eq!(lines.path(), "");
    }

    const RAW: &[u8] = b"GET /?a=\xe9 b HTTP/1.1\r\nHost: t\r\n\r\n";
    const ENCODED: &[u8] = b"GET /?a=%E9%20b HTTP/1.1\r\nHost: t\r\n\r\n";

    #[test]
    fn each_request_that_waits_for_its_turn_is_encoded() {
        for step in [1, 2, 7, 1000] {
            assert_eq!(handed_over(&[RAW, RAW, RAW], step), [ENCODED, ENCODED, ENCODED].concat(), "{step}");
            let unfinished = b"GET /?a=\xe9";
            assert_eq!(handed_over(&[RAW, unfinished], step), [ENCODED, unfinished].concat(), "{step}");
        }
        let long = [b"GET /?a=\xe9", &b"x".repeat(MAX_LINE)[..], b" HTTP/1.1\r\n\r\n"].concat();
        assert!(handed_over(&[&long], 1000) == long, "it stays as it is");
    }

    #[test]
    fn no_byte_behind_a_head_is_changed() {
        let post = b"POST /?a=1 HTTP/1.1\r\nHost: t\r\nContent-Length: 99\r\n\r\n";
        for step in [1, 2, 7, 1000] {
            for head in [&post[..], RAW] {
                // A body that looks like a request, or a request that did not wait.
                let expected = if head == RAW { ENCODED } else { head };
                let together = [head, RAW].concat();
                assert_eq!(handed_over(&[&together], step), [expected, RAW].concat(), "{step}");
                // What follows that is not known to be a request line.
                assert_eq!(handed_over(&[&together, RAW], step), [expected, RAW, RAW].concat(), "{step}");
            }
        }
        let mut lines = RequestLines::default();
        lines.read(RAW);
        lines.answered(false);
        assert_eq!(lines.read(RAW), HandOver::Unchanged, "its body was not read to the end");
    }

    proptest! {
        #[test]
        fn only_the_target_of_the_first_line_differs(
            target in proptest::collection::vec(any::<u8>(), 0..30),
            rest in proptest::collection::vec(any::<u8>(), 0..60),
            step in 1_usize..20,
        ) {
            let bytes = [&b"GET /"[..], &target, b" HTTP/1.1\r\n", &rest].concat();
            let out = handed_over(&[&bytes], step);
            let lines = |bytes: &[u8]| bytes.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
            let (before, after) = (lines(&bytes), lines(&out));
            prop_assert_eq!(&before[1..], &after[1..]);
            let decoded = |line: &[u8]| percent_encoding::percent_decode(line).collect::<Vec<_>>();
            prop_assert_eq!(decoded(&before[0]), decoded(&after[0]));
        }
    }
}
