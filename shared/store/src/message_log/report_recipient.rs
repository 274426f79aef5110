//! The recipient of a delivery report that spells the number differently from the message.
//!
//! A provider may report about `15551234567` although the message went to `+15551234567`. If no recipient of the
//! message has exactly the report's identity, the first rule that finds exactly one recipient decides:
//!
//! 1. The message was sent to the recipient under the provider's id in the report.
//! 2. The recipient has the same number, written with `+`, with `00` or with neither ([`spellings`]).
//! 3. The message has no other recipient, and the log knows the whole message. It does not
//!    apply if the report may be about somebody who was left out of the message ([`may_be_left_out`]).
//!
//! Otherwise, the report's identity becomes a further recipient.

use postern_shared::{
    event::{Event, EventKind},
    message::Identity,
};

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

/// Whether `event` may be about somebody whom a compatibility listener left out of the message.
pub(super) fn may_be_left_out(event: &Event) -> bool {
    matches!(event.event, EventKind::Failed | EventKind::CalledBack) && event.external_id.is_none()
}

/// The ways to write the phone number `identity`: its digits after `+`, after `00`, and alone. Empty if `identity`
/// is not a phone number, which has only digits, hyphens and white space, and may begin with `+`.
pub(super) fn spellings(identity: &Identity) -> Vec<Identity> {
    let text = identity.as_str().trim();
    let number = text.strip_prefix('+').unwrap_or(text);
    let is_number = number.starts_with(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || c == '-' || c.is_whitespace());
    if !is_number {
        return Vec::new();
    }
    let digits: String = number.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.strip_prefix("00").unwrap_or(&digits);
    ["+", "00", ""].iter().filter_map(|prefix| format!("{prefix}{digits}").parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_three_spellings_and_anything_else_none() {
        let spelled = |identity: &str| -> Vec<String> {
            spellings(&identity.parse().unwrap()).into_iter().map(String::from).collect()
        };
        for number in
            ["+15551234567", "15551234567", "0015551234567", "+1 555 123-4567", " 1555\u{a0}1234567"]
        {
            assert_eq!(spelled(number), ["+15551234567", "0015551234567", "15551234567"], "{number}");
        }
        for other in ["clinic", "-1001234567890", "tel:+15551234567", "1.555", "+", "@ann", "٠٧١٢"] {
            assert!(spelled(other).is_empty(), "{other}");
        }
    }
}
