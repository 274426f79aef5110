//! What a batch knows of rows, and values as PostgreSQL takes them.

use postern_shared::event::{Content, Direction};
use std::borrow::Cow;

/// The whole message, or a recipient that is not said.
pub(super) const NOBODY: i64 = 0;

/// A recipient: its message's number and its own.
pub(super) type RecipientKey = (i64, i64);

/// A message that is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownMessage {
    pub(super) message: i64,
    pub(super) complete: bool,
    pub(super) direction: Direction,
    /// Whether this batch made it.
    pub(super) new: bool,
}

/// How many short messages the text takes.
pub(super) fn segments(content: &Content) -> Option<i64> {
    content.segments.and_then(|segments| i64::try_from(segments).ok())
}

/// The text as PostgreSQL takes it: it has no NUL in texts.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    match text.contains('\0') {
        true => Cow::Owned(text.replace('\0', "\u{FFFD}")),
        false => Cow::Borrowed(text),
    }
}
