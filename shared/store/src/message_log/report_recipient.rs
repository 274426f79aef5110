//! The recipient of a delivery report that spells the number differently from the message.
//!
//! A provider may report about `15551234567` although the message went to `+15551234567`. If no recipient of the
//! message has exactly the report's identity, the report is about the recipient with the same number, written with
//! `+`, with `00` or with neither ([`Identity::spellings`](postern_shared::message::Identity::spellings)). If there
//! is none, or more than one, the report's identity becomes a further recipient: nothing else says for sure whom
//! the provider means.

use postern_shared::event::{Event, EventKind};

/// Whether the identity in `event` may be a provider's spelling: the event is from a delivery report, or tells that a
/// client was called back because of one.
pub(super) fn is_report(event: &Event) -> bool {
    use EventKind::{Buffered, CalledBack, Deferred, Delivered, Expired, Failed, Sent, Undelivered, Unknown};
    match event.event {
        CalledBack => true,
        // A report about an attempt is Postern's own.
        Sent | Deferred | Buffered | Delivered | Undelivered | Failed | Expired | Unknown => {
            event.attempt.is_none()
        }
        _ => false,
    }
}
