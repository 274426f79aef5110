//! What the value of an HTTP header can contain.

/// What is wrong with a text that [`fits_header`] refuses.
pub const NOT_A_HEADER_VALUE: &str =
    "contains characters that are not allowed in a header, such as a line break";

/// Whether `text` can be the value of a header: it holds no control character but tabs
/// (RFC 9110, 5.5).
pub fn fits_header(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_control_characters_cannot_stand_in_a_header() {
        for text in ["", "a b", "a\tb", "Grüße"] {
            assert!(fits_header(text), "{text:?}");
        }
        for text in ["a\nb", "a\r", "\0", "\u{7f}"] {
            assert!(!fits_header(text), "{text:?}");
        }
    }
}
