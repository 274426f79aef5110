//! What a batch knows about existing rows, and values in the form that PostgreSQL accepts.

use postern_shared::event::{Content, Direction};
use std::borrow::Cow;

/// The recipient number of events about the whole message or an unnamed recipient.
pub(super) const NOBODY: i64 = 0;

/// A recipient: its message's number and its own.
pub(super) type RecipientKey = (i64, i64);

/// A message that has a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownMessage {
    pub(super) message: i64,
    pub(super) complete: bool,
    pub(super) direction: Direction,
    /// Whether this batch added it.
    pub(super) new: bool,
}

/// The number of the text's segments.
pub(super) fn segments(content: &Content) -> Option<i64> {
    content.segments.and_then(|segments| i64::try_from(segments).ok())
}

/// The text without NUL, which PostgreSQL does not accept in texts.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "\u{FFFD}")),
        false => Cow::Borrowed(text),
    }
}
