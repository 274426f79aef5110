//! Finds the blank lines in what a client sends: there the head of a request may end.

use memchr::memchr_iter;

/// Finds the blank lines in bytes that come in pieces. A line ends with LF or with CRLF, as for
/// httparse, which reads heads for actix-http.
#[derive(Debug)]
pub(super) struct BlankLines(Line);

/// What the current line holds so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Nothing,
    CarriageReturn,
    Text,
}

impl Default for BlankLines {
    fn default() -> Self {
        Self(Line::Text)
    }
}

impl BlankLines {
    /// Begins with bytes that follow the end of a line.
    pub(super) fn behind_a_line() -> Self {
        Self(Line::Nothing)
    }

    /// How many of `bytes` there are up to the end of the blank line that brings `left` to 0, or all of
    /// them if there are fewer blank lines. Subtracts each blank line among them from `left`, which must be
    /// at least 1. The next call continues after them.
    pub(super) fn cut(&mut self, bytes: &[u8], left: &mut u8) -> usize {
        let mut start = 0;
        for end in memchr_iter(b'\n', bytes) {
            let blank = match &bytes[start..end] {
                [] => self.0 != Line::Text,
                [b'\r'] => self.0 == Line::Nothing,
                _ => false,
            };
            self.0 = Line::Nothing;
            start = end + 1;
            if blank {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    return start;
                }
            }
        }
        self.0 = match (&bytes[start..], self.0) {
            ([], line) => line,
            ([b'\r'], Line::Nothing) => Line::CarriageReturn,
            _ => Line::Text,
        };
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces that `bytes` is cut into after every blank line, if it arrives in steps of `step` bytes.
    fn pieces(bytes: &[u8], step: usize) -> Vec<String> {
        let (mut lines, mut pieces, mut piece) = (BlankLines::default(), Vec::new(), Vec::new());
        for mut part in bytes.chunks(step) {
            while !part.is_empty() {
                let mut left = 1;
                let cut = lines.cut(part, &mut left);
                piece.extend_from_slice(&part[..cut]);
                part = &part[cut..];
                if left == 0 {
                    pieces.push(String::from_utf8(std::mem::take(&mut piece)).unwrap());
                }
            }
        }
        pieces.push(String::from_utf8(piece).unwrap());
        pieces
    }

    #[test]
    fn blank_lines_are_found_however_the_bytes_come() {
        for (bytes, wanted) in [
            ("GET / HTTP/1.1\r\nA: b\r\n\r\nGET", &["GET / HTTP/1.1\r\nA: b\r\n\r\n", "GET"][..]),
            ("GET / HTTP/1.0\n\nGET / HTTP/1.0\n\n", &["GET / HTTP/1.0\n\n", "GET / HTTP/1.0\n\n", ""]),
            ("a\n\r\nb\r\n\nc", &["a\n\r\n", "b\r\n\n", "c"]),
            ("a\r\n\r\n\r\n\r\n", &["a\r\n\r\n", "\r\n", "\r\n", ""]),
            ("a\r\n\r\r\nb\r\r\n \r\nc", &["a\r\n\r\r\nb\r\r\n \r\nc"]),
            ("", &[""]),
            ("no line at all", &["no line at all"]),
        ] {
            for step in 1..=bytes.len().max(1) {
                assert_eq!(pieces(bytes.as_bytes(), step), wanted, "{bytes:?} in steps of {step}");
            }
        }
    }

    #[test]
    fn it_cuts_behind_the_last_blank_line_that_is_left() {
        let bytes = b"a\n\nb\n\nc\n\nd";
        let mut left = 2;
        assert_eq!(BlankLines::default().cut(bytes, &mut left), 6);
        assert_eq!(left, 0);
        let mut left = 9;
        assert_eq!(BlankLines::default().cut(bytes, &mut left), bytes.len());
        assert_eq!(left, 6);
    }
}
