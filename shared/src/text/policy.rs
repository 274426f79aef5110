//! How a text is prepared for its provider: made plain, sent with the URLs of media, split, cut or
//! refused, as `[backends.NAME.text]` says. With it, the ingress measures a message that it accepts, and
//! the dispatcher prepares one that it sends.

use super::{
    Alphabet,
    media::{MediaProblem, MediaUse},
    parts::{MAX_PARTS, PartLimit, beginning, split},
    plain::plain_where_it_saves,
    segmentation,
};
use crate::message::{Context, MAX_TEXT_CHARS};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The longest number in front of a part, for which each part leaves room: there are at most [`MAX_PARTS`].
const NUMBER: &str = "100/255 ";

/// What is done to a text before its provider gets it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TextPolicy {
    /// Whether the provider counts in segments, as for short messages; for chats, it does not.
    pub segments: bool,
    /// Whether typographic punctuation is made plain if the text then fits GSM-7.
    pub transliterate: bool,
    /// The longest text of one request to the provider.
    pub limit: Bounds,
    /// What happens to a longer text.
    pub over: Over,
    /// Whether each part of a split text begins with its number: `1/3 `.
    pub numbered: bool,
    /// What happens to the media in a message's context.
    pub media: MediaUse,
}

impl Default for TextPolicy {
    fn default() -> Self {
        Self {
            segments: true,
            transliterate: false,
            limit: Bounds::default(),
            over: Over::Split,
            numbered: false,
            media: MediaUse::default(),
        }
    }
}

/// The longest text of one request. Both limits apply. 0: any length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// The most Unicode scalar values.
    pub characters: usize,
    /// The most segments.
    pub segments: usize,
}

/// What happens to a text that is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    /// It is sent in parts.
    Split,
    /// It is not sent.
    Refuse,
    /// Its beginning is sent.
    Truncate,
}

/// A text that is too long for its backend. The error contains lengths, and nothing of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{has}, but the limit is {limit}")]
pub struct TooLong {
    has: String,
    limit: String,
}

/// A text in the parts that its provider gets, one in each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared<'t> {
    text: Cow<'t, str>,
    /// Where each part ends in `text`; at least one.
    ends: Vec<usize>,
    /// How many parts were sent before these. `None` if parts are not numbered.
    numbered: Option<usize>,
    counts: bool,
}

/// What a text costs for each recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// UCS-2 if any part needs it, otherwise GSM-7.
    pub alphabet: Alphabet,
    /// The segments of all parts together.
    pub segments: usize,
}

impl TextPolicy {
    /// The text of a message with `text` and `context`, its media included. If `before` parts were sent
    /// already, `text` is the rest, which contains the media already.
    ///
    /// # Errors
    /// The media cannot be sent, and the error says why.
    pub fn with_media<'t>(
        &self,
        text: &'t str,
        context: &Context,
        before: usize,
    ) -> Result<Cow<'t, str>, MediaProblem> {
        if before > 0 { Ok(text.into()) } else { self.media.text(text, context) }
    }

    /// Prepares `text` for its provider. If `before` parts were sent already, `text` is the rest.
    ///
    /// # Errors
    /// The text is too long, and longer texts are refused; or it would be sent in more than
    /// [`MAX_PARTS`] parts; or it would be sent in parts although it has, with its media and its plain
    /// punctuation, more than [`MAX_TEXT_CHARS`], so that no retry could hold its rest.
    pub fn prepare<'t>(&self, text: impl Into<Cow<'t, str>>, before: usize) -> Result<Prepared<'t>, TooLong> {
        let text = text.into();
        // The rest of a text was made plain with the whole text, or was not.
        let plain = match (self.transliterate && before == 0).then(|| plain_where_it_saves(&text)) {
            Some(Cow::Owned(plain)) => Some(plain),
            _ => None,
        };
        let text = plain.map_or(text, Cow::Owned);
        let some = |most| (most > 0).then_some(most);
        let limit =
            PartLimit { characters: some(self.limit.characters), segments: some(self.limit.segments) };
        let whole = Prepared { ends: vec![text.len()], text, numbered: None, counts: self.segments };
        if limit == PartLimit::default() || limit.takes(&whole.text) && before == 0 {
            return Ok(whole);
        }
        match self.over {
            Over::Refuse if limit.takes(&whole.text) => Ok(whole),
            Over::Refuse => Err(TooLong::new(&whole.text, &limit)),
            Over::Truncate => {
                let end = beginning(&whole.text, &limit).len();
                Ok(Prepared { ends: vec![end], ..whole })
            }
            Over::Split => {
                let room = if self.numbered { NUMBER } else { "" };
                let mut end = 0;
                let ends: Vec<usize> = split(&whole.text, &limit, room)
                    .iter()
                    .map(|part| {
                        end += part.len();
                        end
                    })
                    .collect();
                let parts = before.saturating_add(ends.len());
                if parts > MAX_PARTS {
                    return Err(TooLong::in_parts(parts));
                }
                if ends.len() > 1 && whole.text.chars().count() > MAX_TEXT_CHARS {
                    return Err(TooLong::to_queue(&whole.text));
                }
                Ok(Prepared { ends, numbered: self.numbered.then_some(before), ..whole })
            }
        }
    }
}

impl TooLong {
    fn new(text: &str, limit: &PartLimit) -> Self {
        let characters = limit.characters.map(|most| (text.chars().count(), most, "characters"));
        let segments = limit.segments.map(|most| (segmentation(text).segments, most, "segments"));
        let over = [characters, segments].into_iter().flatten().find(|(has, most, _)| has > most);
        let (has, most, unit) = over.unwrap_or_default();
        Self { has: format!("it has {has} {unit}"), limit: format!("{most}") }
    }

    fn to_queue(text: &str) -> Self {
        let characters = text.chars().count();
        let has = format!("it has {characters} characters with its media and plain punctuation");
        Self { has, limit: format!("{MAX_TEXT_CHARS}") }
    }

    fn in_parts(parts: usize) -> Self {
        Self { has: format!("it would be sent in {parts} parts"), limit: format!("{MAX_PARTS}") }
    }
}

impl Prepared<'_> {
    /// How many parts there are: at least one.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The part number `index`, from 0, as the provider gets it.
    pub fn part(&self, index: usize) -> Cow<'_, str> {
        let begin = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        let part = &self.text[begin..self.ends[index]];
        match self.numbered {
            Some(before) => format!("{}/{} {part}", before + index + 1, before + self.len()).into(),
            None => part.into(),
        }
    }

    /// The text that is still to be sent after the first `parts`, without numbers.
    pub fn after(&self, parts: usize) -> &str {
        let begin = parts.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[begin..]
    }

    /// The cost of the parts `from..to`. `None` if the provider does not count in segments.
    pub fn cost(&self, from: usize, to: usize) -> Option<Cost> {
        let costs = (from..to).map(|index| segmentation(&self.part(index)));
        let none = Cost { alphabet: Alphabet::Gsm7, segments: 0 };
        self.counts.then(|| {
            costs.fold(none, |cost, part| Cost {
                alphabet: if part.alphabet == Alphabet::Ucs2 { Alphabet::Ucs2 } else { cost.alphabet },
                segments: cost.segments + part.segments,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(table: serde_json::Value) -> TextPolicy {
        serde_json::from_value(table).unwrap()
    }

    fn parts(policy: &TextPolicy, text: &str, before: usize) -> Vec<String> {
        let prepared = policy.prepare(text, before).unwrap();
        (0..prepared.len()).map(|index| prepared.part(index).into_owned()).collect()
    }

    #[test]
    fn a_text_becomes_what_the_table_says() {
        let long = "one two three four five six seven eight nine ten";
        for (table, text, wanted) in [
            (json!({}), "“x”", vec!["“x”"]),
            (json!({"transliterate": true}), "“x”", vec!["\"x\""]),
            (json!({"transliterate": true}), "“я”", vec!["“я”"]),
            (json!({"limit": {"characters": 4}}), "“x” y", vec!["“x” ", "y"]),
            (json!({"limit": {"characters": 4, "segments": 1}, "over": "truncate"}), "“x” y", vec!["“x” "]),
            // The text is made plain before it is measured.
            (
                json!({"limit": {"characters": 4}, "transliterate": true, "over": "truncate"}),
                "ab…",
                vec!["ab.."],
            ),
            (json!({"limit": {"characters": 0}}), long, vec![long]),
            (
                json!({"limit": {"characters": 40}, "numbered": true}),
                long,
                vec!["1/2 one two three four five six ", "2/2 seven eight nine ten"],
            ),
            (json!({"limit": {"characters": 48}, "numbered": true}), long, vec![long]),
        ] {
            assert_eq!(parts(&policy(table.clone()), text, 0), wanted, "{table}");
        }
    }

    #[test]
    fn what_is_left_goes_on_where_it_stopped() {
        let numbered = policy(json!({"limit": {"characters": 40}, "numbered": true, "transliterate": true}));
        let text = "word ".repeat(40);
        let all = parts(&numbered, &text, 0);
        let prepared = numbered.prepare(&text, 0).unwrap();
        for sent in 0..all.len() {
            assert_eq!(parts(&numbered, prepared.after(sent), sent), &all[sent..]);
        }
        assert_eq!(prepared.after(0), text);
        // The last of three parts keeps its number, though alone it would need none.
        assert_eq!(parts(&numbered, "the end", 2), ["3/3 the end"]);
    }

    #[test]
    fn a_text_that_is_too_long_says_by_how_much() {
        for (limit, text, says) in [
            (json!({"characters": 5}), "hush, hush", "it has 10 characters, but the limit is 5"),
            (
                json!({"characters": 500, "segments": 1}),
                "я".repeat(71).as_str(),
                "it has 2 segments, but the limit is 1",
            ),
        ] {
            let refuses = policy(json!({"limit": limit, "over": "refuse"}));
            assert_eq!(refuses.prepare(text, 0).unwrap_err().to_string(), says);
            assert_eq!(parts(&refuses, "short", 0), ["short"]);
        }
    }

    #[test]
    fn a_text_of_too_many_parts_is_refused_whichever_part_it_is_at() {
        let numbered = policy(json!({"limit": {"characters": 40}, "numbered": true}));
        let single = policy(json!({"limit": {"characters": 1}}));
        let text = "x".repeat(MAX_PARTS);
        assert_eq!(parts(&single, &text, 0).len(), MAX_PARTS);
        let says = "it would be sent in 256 parts, but the limit is 255";
        assert_eq!(single.prepare(format!("{text}x"), 0).unwrap_err().to_string(), says);
        assert_eq!(single.prepare(&text, 1).unwrap_err().to_string(), says);
        let word = "0123456789012345678901234567890 ";
        let all = parts(&numbered, &word.repeat(MAX_PARTS), 0);
        assert_eq!(all[254], format!("255/255 {word}"));
        assert!(numbered.prepare(word.repeat(MAX_PARTS + 1), 0).is_err());
        // A forged count of parts makes any text impossible.
        assert!(single.prepare("x", usize::MAX).is_err());
    }

    /// A retry holds what is left of a text, and no queue takes a longer one.
    #[test]
    fn a_text_in_parts_is_no_longer_than_a_queued_message_may_hold() {
        let chat = policy(json!({"limit": {"characters": 1000}}));
        assert_eq!(parts(&chat, &"x".repeat(MAX_TEXT_CHARS), 0).len(), 17);
        let media = [("media".to_owned(), json!("https://h/a.png"))].into_iter().collect();
        let text = "x".repeat(MAX_TEXT_CHARS);
        let text = chat.with_media(&text, &media, 0).unwrap();
        let says = "it has 16400 characters with its media and plain punctuation, but the limit is 16384";
        assert_eq!(chat.prepare(text.clone(), 0).unwrap_err().to_string(), says);
        assert_eq!(parts(&policy(json!({})), &text, 0), [&*text], "in one part, nothing is left to queue");
        let plain = policy(json!({"limit": {"characters": 1000}, "transliterate": true}));
        let says = "it has 18000 characters with its media and plain punctuation, but the limit is 16384";
        assert_eq!(plain.prepare("…".repeat(6000), 0).unwrap_err().to_string(), says);
    }

    #[test]
    fn the_cost_is_that_of_all_parts() {
        let two = policy(json!({"limit": {"segments": 1}}));
        let text = format!("{}я", "a".repeat(200));
        let prepared = two.prepare(&text, 0).unwrap();
        assert_eq!(prepared.cost(0, 2), Some(Cost { alphabet: Alphabet::Ucs2, segments: 2 }));
        assert_eq!(prepared.cost(0, 1), Some(Cost { alphabet: Alphabet::Gsm7, segments: 1 }));
        let chat = policy(json!({"segments": false}));
        assert_eq!(chat.prepare(&text, 0).unwrap().cost(0, 1), None);
    }
}
