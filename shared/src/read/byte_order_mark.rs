//! The byte order mark with which some programs begin a UTF-8 text.

/// The byte order mark in UTF-8. No pattern and no JSON reader expects it.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// `text` without the byte order mark that it may begin with: a reader of JSON may ignore it (RFC 8259, 8.1).
pub fn without_byte_order_mark(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// Whether `text` may be a JSON object or list: it begins with `{` or `[`.
pub fn looks_like_json(text: &[u8]) -> bool {
    matches!(without_byte_order_mark(text).trim_ascii_start().first(), Some(b'{' | b'['))
}
