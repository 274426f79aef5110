//! Shows a message on a terminal, for people who try Postern out.

use postern_shared::{
    message::{BackendName, Identity},
    terminal::plain,
};
use std::fmt::Write;

/// The most recipients of one message that get a line.
const MOST: usize = 20;

/// One line for each recipient. Control characters are replaced, line feeds too, so that a text cannot move
/// the cursor.
pub(super) fn shown(backend: &BackendName, text: &str, identities: &[Identity]) -> String {
    let text = plain(text);
    let mut lines = String::new();
    for identity in identities.iter().take(MOST) {
        let _ = writeln!(lines, "message to {} through {backend}: {text}", plain(identity.as_str()));
    }
    if let more @ 1.. = identities.len().saturating_sub(MOST) {
        let _ = writeln!(lines, "and to {more} more");
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_a_line_for_each_recipient_and_moves_no_cursor() {
        let demo = "demo".parse().unwrap();
        let people = ["+1555", "ann\u{202e}2J"].map(|identity| identity.parse().unwrap());
        assert_eq!(
            shown(&demo, "ping\u{1b}[2J\nmessage to +1666", &people),
            "message to +1555 through demo: ping\u{fffd}[2J\u{fffd}message to +1666\n\
             message to ann\u{fffd}2J through demo: ping\u{fffd}[2J\u{fffd}message to +1666\n"
        );
        let many = vec![people[0].clone(); 120];
        let lines = shown(&demo, "hi", &many);
        assert!(lines.lines().count() == 21 && lines.ends_with("and to 100 more\n"), "{lines}");
    }
}
