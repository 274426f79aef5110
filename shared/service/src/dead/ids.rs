//! Ids as people give them: whole, or only the beginning.

use super::{dead_letter::DeadLetter, handle::is_handle};
use postern_shared::{message::MessageId, terminal::plain};
use std::collections::BTreeSet;

/// The shortest text that is taken for the beginning of an id, in bytes.
const SHORTEST: usize = 4;
/// The most ids that an error names if several begin with the same text.
const NAMED: usize = 10;

/// A text that several ids begin with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} is the beginning of several ids: {}{}; give more characters of it", plain(.given), self.named(), self.rest())]
pub struct AmbiguousId {
    /// The text that was given.
    pub given: String,
    /// The ids that begin with the text, in order: at most ten.
    pub candidates: Vec<String>,
    /// Whether there are more of them than are in `candidates`.
    pub more: bool,
}

impl AmbiguousId {
    fn named(&self) -> String {
        self.candidates.iter().map(|id| plain(id)).collect::<Vec<_>>().join(", ")
    }

    fn rest(&self) -> &'static str {
        if self.more { " and more" } else { "" }
    }
}

/// The ids that were given, and the letters' ids that each of them can mean.
#[derive(Debug)]
pub(super) struct GivenIds(Vec<GivenId>);

#[derive(Debug)]
struct GivenId {
    text: String,
    /// Whether the text is a whole id: by its form, or because a letter has exactly this id.
    is_whole: bool,
    /// The ids that begin with the text.
    candidates: BTreeSet<String>,
}

impl GivenIds {
    /// The given `ids`. `None` if all of them are whole, so that no letter has to be looked at.
    pub(super) fn with_beginnings(ids: &[String]) -> Option<Self> {
        let is_whole = |id: &str| id.len() < SHORTEST || is_handle(id) || id.parse::<MessageId>().is_ok();
        if ids.iter().all(|id| is_whole(id)) {
            return None;
        }
        let given =
            |id: &String| GivenId { text: id.clone(), is_whole: is_whole(id), candidates: BTreeSet::new() };
        Some(Self(ids.iter().map(given).collect()))
    }

    /// Notes which of the given ids can mean `letter`.
    pub(super) fn look_at(&mut self, letter: &DeadLetter) {
        for given in self.0.iter_mut().filter(|given| !given.is_whole) {
            for name in [letter.id().map(str::to_owned), Some(letter.handle())].into_iter().flatten() {
                given.is_whole |= name == given.text;
                // One more than the error names, to know that there are more.
                if name.starts_with(&given.text) && given.candidates.len() <= NAMED {
                    given.candidates.insert(name);
                }
            }
        }
    }

    /// The whole ids. A text that no id begins with stays unchanged.
    ///
    /// # Errors
    /// Several ids begin with the same text.
    pub(super) fn whole(self) -> Result<Vec<String>, AmbiguousId> {
        let whole = |given: GivenId| {
            let GivenId { text, is_whole, candidates } = given;
            match candidates.len() {
                _ if is_whole => Ok(text),
                0 => Ok(text),
                1 => Ok(candidates.into_iter().next().unwrap_or(text)),
                several => Err(AmbiguousId {
                    given: text,
                    candidates: candidates.into_iter().take(NAMED).collect(),
                    more: several > NAMED,
                }),
            }
        };
        self.0.into_iter().map(whole).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead::DeadQueue;
    use postern_broker::Envelope;

    fn whole(given: &[&str], ids: &[&str]) -> Result<Vec<String>, String> {
        let given: Vec<String> = given.iter().map(ToString::to_string).collect();
        let Some(mut wanted) = GivenIds::with_beginnings(&given) else { return Ok(given) };
        for id in ids {
            let message_id = Some((*id).to_owned());
            wanted
                .look_at(&DeadLetter::new(&Envelope { message_id, ..Envelope::default() }, DeadQueue::Dead));
        }
        wanted.whole().map_err(|ambiguous| ambiguous.to_string())
    }

    #[test]
    fn a_beginning_is_taken_if_it_is_that_of_one_id() {
        let ids = ["0199aaaa-1", "0199aabb-2", "order-7", "order-77"];
        for (given, expected) in [
            ("0199aaa", Ok("0199aaaa-1")),
            ("order-77", Ok("order-77")),
            ("order-7", Ok("order-7")),
            ("none-of-them", Ok("none-of-them")),
            ("019", Ok("019")),
            ("", Ok("")),
            (
                "0199",
                Err(
                    "0199 is the beginning of several ids: 0199aaaa-1, 0199aabb-2; give more characters of it",
                ),
            ),
        ] {
            let expected = expected.map(|id| vec![id.to_owned()]).map_err(str::to_owned);
            assert_eq!(whole(&[given], &ids), expected, "{given}");
        }
        assert_eq!(whole(&["0199aaa"], &["0199aaaa-1", "0199aaaa-1"]), Ok(vec!["0199aaaa-1".to_owned()]));
    }

    #[test]
    fn many_candidates_are_named_in_part_and_nothing_in_them_moves_a_cursor() {
        let ids: Vec<String> = (0..20).map(|n| format!("same-\u{9b}{n:02}")).collect();
        let why = whole(&["same"], &ids.iter().map(String::as_str).collect::<Vec<_>>()).unwrap_err();
        assert!(why.contains("same-\u{fffd}09 and more") && !why.contains("same-\u{fffd}10"), "{why}");
    }

    #[test]
    fn whole_ids_need_no_search() {
        let id = MessageId::new().to_string();
        assert!(GivenIds::with_beginnings(&[id, "sha256:0123456789ab".to_owned()]).is_none());
        assert!(GivenIds::with_beginnings(&[]).is_none());
    }
}
