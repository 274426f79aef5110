//! The parts of a text that is too long for one request to its provider.

use super::{Alphabet, Meter};
use unicode_segmentation::UnicodeSegmentation;

/// The most parts that a text is sent in. A concatenated short message can have no more: its header has
/// one octet for their number (3GPP TS 23.040, 9.2.3.24.1). This bounds the requests to the provider
/// that one request of a client costs for each recipient.
pub const MAX_PARTS: usize = 255;

/// How long a text may be. Both limits apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PartLimit {
    /// The most Unicode scalar values. `None`: any number.
    pub characters: Option<usize>,
    /// The most segments. `None`: any number.
    pub segments: Option<usize>,
}

impl PartLimit {
    fn holds(&self, meter: &Meter) -> bool {
        self.characters.is_none_or(|most| meter.characters <= most)
            && self.segments.is_none_or(|most| meter.segmentation().segments <= most)
    }

    /// The most characters that a text within the limit can have.
    fn characters_at_most(&self) -> usize {
        let segments = self.segments.map_or(usize::MAX, |most| {
            // A character takes at least one unit, and no alphabet has more units than this one.
            Alphabet::Gsm7.single().max(most.saturating_mul(Alphabet::Gsm7.concatenated()))
        });
        self.characters.unwrap_or(usize::MAX).min(segments)
    }

    /// The beginning of `text` that decides where its first part ends: one character more than any part
    /// can have. A grapheme cluster can be of any length, and looking for the end of a huge one for each
    /// part would take a time that grows with the square of its length.
    fn window<'t>(&self, text: &'t str) -> &'t str {
        match text.char_indices().nth(self.characters_at_most().saturating_add(1)) {
            Some((end, _)) => &text[..end],
            None => text,
        }
    }

    /// Whether `text` is within the limit.
    pub fn takes(&self, text: &str) -> bool {
        let mut meter = Meter::default();
        meter.add(text);
        self.holds(&meter)
    }
}

/// The longest beginning of `text` within `limit`. No grapheme cluster (UAX #29) is split, unless it is
/// longer than the limit.
pub fn beginning<'t>(text: &'t str, limit: &PartLimit) -> &'t str {
    &text[..fitting(text, Meter::default(), limit).0]
}

/// Splits `text` into parts within `limit`, in order; together they are `text`. Each is as long as it
/// can be, but ends next to white space if there is some in its second half. A grapheme cluster is split
/// only if it alone is longer than the limit, and a character never is: no escape sequence and no
/// surrogate pair.
///
/// Where a part ends depends only on what follows its beginning, so the rest of a text is split into the
/// same parts as in the whole text.
///
/// Each part leaves room for `before`, a text that is put in front of it.
pub fn split<'t>(text: &'t str, limit: &PartLimit, before: &str) -> Vec<&'t str> {
    let mut room = Meter::default();
    room.add(before);
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (end, space) = fitting(rest, room, limit);
        // At least one character is taken, or this would never end with a limit that is too small for any.
        let end = if end == 0 { rest.chars().next().map_or(0, char::len_utf8) } else { end };
        if end == rest.len() {
            parts.push(rest);
            return parts;
        }
        let end = if space > end / 2 { space } else { end };
        let (part, next) = rest.split_at(end);
        parts.push(part);
        rest = next;
    }
}

/// How many bytes of `text` fit after what `meter` has measured: up to the end of the last grapheme
/// cluster that fits, and up to the last place next to white space.
fn fitting(text: &str, mut meter: Meter, limit: &PartLimit) -> (usize, usize) {
    let (mut end, mut space) = (0, 0);
    // Where a cluster ends depends on what is before it and on one character after it: a cluster that
    // ends within the window ends there in the whole text, too.
    for cluster in limit.window(text).graphemes(true) {
        let mut with = meter;
        with.add(cluster);
        if !limit.holds(&with) {
            return match end {
                0 => (torn(cluster, meter, limit), 0),
                _ if blank(cluster) => (end, end),
                _ => (end, space),
            };
        }
        meter = with;
        end += cluster.len();
        if blank(cluster) {
            space = end;
        }
    }
    (end, end)
}

fn blank(cluster: &str) -> bool {
    cluster.chars().all(char::is_whitespace)
}

/// How many bytes of a cluster that is longer than the limit fit.
fn torn(cluster: &str, mut meter: Meter, limit: &PartLimit) -> usize {
    let mut end = 0;
    for character in cluster.chars() {
        meter.add(character.encode_utf8(&mut [0; 4]));
        if !limit.holds(&meter) {
            break;
        }
        end += character.len_utf8();
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::segmentation;
    use proptest::prelude::*;
    use rustix::time::{ClockId, clock_gettime};
    use std::time::Duration;

    fn characters(most: usize) -> PartLimit {
        PartLimit { characters: Some(most), segments: None }
    }

    fn segments(most: usize) -> PartLimit {
        PartLimit { characters: None, segments: Some(most) }
    }

    #[test]
    fn parts_end_where_a_reader_would_end_them() {
        for (text, limit, wanted) in [
            ("", characters(5), vec![""]),
            ("12345", characters(5), vec!["12345"]),
            ("123456", characters(5), vec!["12345", "6"]),
            ("hello dear world", characters(8), vec!["hello ", "dear ", "world"]),
            ("hello dear world", characters(10), vec!["hello dear", " world"]),
            // White space in the first half of a part would waste most of it.
            ("a bcdefghijkl", characters(8), vec!["a bcdefg", "hijkl"]),
            ("слово за слово", characters(9), vec!["слово за ", "слово"]),
            // A family, a flag and an accent are one character each to a reader.
            ("ab👨‍👩‍👧", characters(4), vec!["ab", "👨‍👩\u{200d}", "👧"]),
            ("ab👨‍👩‍👧", characters(5), vec!["ab", "👨‍👩‍👧"]),
            ("a🇰🇪🇺🇬", characters(3), vec!["a🇰🇪", "🇺🇬"]),
            ("cafe\u{301}s", characters(4), vec!["caf", "e\u{301}s"]),
            ("a\r\nb", characters(2), vec!["a", "\r\n", "b"]),
        ] {
            assert_eq!(split(text, &limit, ""), wanted, "{text:?}");
        }
    }

    #[test]
    fn segments_are_counted_as_the_network_does() {
        for (text, most, lengths) in [
            ("a".repeat(161), 1, vec![160, 1]),
            ("a".repeat(306), 2, vec![306]),
            ("a".repeat(460), 2, vec![306, 154]),
            // 80 escapes and their characters fill a single segment, 76 fill each of several.
            ("€".repeat(81), 1, vec![80, 1]),
            ("€".repeat(153), 2, vec![152, 1]),
            ("я".repeat(71), 1, vec![70, 1]),
            ("😀".repeat(36), 1, vec![35, 1]),
            ("😀".repeat(67), 2, vec![66, 1]),
            // One part needs UCS-2, the other does not.
            (format!("{}я", "a".repeat(200)), 1, vec![160, 41]),
        ] {
            let parts = split(&text, &segments(most), "");
            assert_eq!(parts.iter().map(|part| part.chars().count()).collect::<Vec<_>>(), lengths, "{text}");
        }
    }

    #[test]
    fn a_beginning_is_as_long_as_it_can_be() {
        assert_eq!(beginning("hello dear", &characters(8)), "hello de");
        assert_eq!(beginning("ab👨‍👩‍👧", &characters(4)), "ab");
        assert_eq!(beginning(&"€".repeat(81), &segments(1)).chars().count(), 80);
        assert_eq!(beginning("short", &segments(1)), "short");
    }

    /// Does what [`split`] does, without the window: each part looks at clusters up to the text's end.
    fn split_without_window<'t>(text: &'t str, limit: &PartLimit, before: &str) -> Vec<&'t str> {
        let mut room = Meter::default();
        room.add(before);
        let (mut parts, mut rest) = (Vec::new(), text);
        loop {
            let (mut meter, mut end, mut space, mut whole) = (room, 0, 0, true);
            for cluster in rest.graphemes(true) {
                let mut with = meter;
                with.add(cluster);
                if !limit.holds(&with) {
                    whole = false;
                    (end, space) = match end {
                        0 => (torn(cluster, meter, limit), 0),
                        _ if blank(cluster) => (end, end),
                        _ => (end, space),
                    };
                    break;
                }
                (meter, end) = (with, end + cluster.len());
                if blank(cluster) {
                    space = end;
                }
            }
            if end == 0 {
                end = rest.chars().next().map_or(0, char::len_utf8);
            }
            if whole || end == rest.len() {
                parts.push(rest);
                return parts;
            }
            let (part, next) = rest.split_at(if space > end / 2 { space } else { end });
            parts.push(part);
            rest = next;
        }
    }

    #[test]
    fn the_time_for_one_huge_cluster_grows_with_its_length_alone() {
        // The time of this thread alone, without what else the machine does.
        let spent = || {
            let spent = clock_gettime(ClockId::ThreadCPUTime);
            Duration::new(spent.tv_sec.cast_unsigned(), spent.tv_nsec as u32)
        };
        let time = |text: &str, limit: &PartLimit| {
            let begun = spent();
            assert_eq!(split(text, limit, "").concat(), text);
            spent() - begun
        };
        for (piece, limit) in
            [("\u{600}", segments(1)), ("\u{600}", characters(1)), ("👩\u{200d}", characters(3))]
        {
            let texts = [1_000, 16_000].map(|times| piece.repeat(times));
            // In turns, so that a machine that slows down slows both.
            let times: Vec<_> = (0..10).map(|_| texts.each_ref().map(|text| time(text, &limit))).collect();
            let [short, long] = [0, 1].map(|which| times.iter().map(|both| both[which]).min().unwrap());
            // 16 times as long; with a time that grows with the square, 256 times.
            assert!(long < short * 64, "{piece:?} {limit:?}: {short:?}, and 16 times as much {long:?}");
        }
    }

    fn texts() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => "[a-zA-Z0-9 ]{1,30}",
            2 => "[€{}\\[\\]~^|\\\\]{1,20}",
            2 => "[а-я ]{1,30}",
            1 => Just("👨\u{200d}👩\u{200d}👧".to_owned()),
            1 => Just("🇰🇪🇺🇬".to_owned()),
            1 => "e[\u{300}-\u{36f}]{0,12}",
            1 => "[\u{600}\u{601}]{0,200}",
            1 => "(👩\u{200d}){0,60}",
            1 => "[🇰🇪🇺🇬]{0,9}",
            1 => "\\PC{0,10}",
            1 => "[\r\n\t ]{1,4}",
        ];
        proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    fn limits() -> impl Strategy<Value = PartLimit> {
        let some = |most| proptest::option::of(1..=most);
        (some(90usize), some(3usize)).prop_map(|(characters, segments)| PartLimit { characters, segments })
    }

    proptest! {
        #[test]
        fn parts_are_the_text_within_the_limit_and_tear_nothing(
            text in texts(), limit in limits(), room in prop_oneof![Just(""), Just("100/255 ")]
        ) {
            let parts = split(&text, &limit, room);
            prop_assert_eq!(parts.concat(), text.clone());
            let enough = limit.characters.is_none_or(|most| most > room.len());
            let mut rest = &*text;
            for part in &parts {
                let whole = format!("{room}{part}");
                prop_assert!(!enough || limit.takes(&whole), "{} characters, {:?}", whole.chars().count(), segmentation(&whole));
                prop_assert!(!part.is_empty() || parts.len() == 1);
                // The clusters are those of the rest of the text: after a split one, flags may pair in
                // another way.
                let ends_a_cluster = rest.grapheme_indices(true).any(|(at, it)| at + it.len() == part.len());
                if !part.is_empty() && !ends_a_cluster {
                    // It had to be split: the cluster alone is too long.
                    let cluster = [room, rest.graphemes(true).next().unwrap_or_default()].concat();
                    prop_assert!(!limit.takes(&cluster), "torn without need");
                }
                rest = &rest[part.len()..];
            }
        }

        #[test]
        fn parts_are_those_of_whoever_looks_at_the_whole_text(
            text in texts(), limit in limits(), room in prop_oneof![Just(""), Just("100/255 ")]
        ) {
            prop_assert_eq!(split(&text, &limit, room), split_without_window(&text, &limit, room));
        }

        #[test]
        fn what_is_left_has_the_parts_that_it_had(text in texts(), limit in limits(), taken in 0usize..5) {
            let parts = split(&text, &limit, "");
            let taken = taken.min(parts.len() - 1);
            let left = parts[taken..].concat();
            prop_assert_eq!(split(&left, &limit, ""), &parts[taken..]);
        }

        #[test]
        fn a_beginning_is_within_the_limit(text in texts(), limit in limits()) {
            let begun = beginning(&text, &limit);
            prop_assert!(text.starts_with(begun));
            prop_assert!(limit.takes(begun));
            prop_assert!(begun == text || !limit.takes(&text));
        }
    }
}
