//! What one answer says about each recipient of its request: a backend's `send.results`.
//!
//! A provider may write a recipient differently from the request: `0712 345678` comes back as
//! `+254712345678`. A recipient whom an answer does not mention has an unknown outcome. A recipient who got
//! the message, according to the answer, is never sent it again, even if the answer says something else
//! about the same recipient, too.

use super::answer::ProviderAnswer;
use crate::outcome::{Outcome, Outcomes, Sent};
use postern_config::backend::{each::Item, send::Results};
use postern_shared::{
    error::{Failure, FailureClass},
    message::Identity,
};
use serde_json::Value;
use std::collections::HashMap;

/// The fewest digits by which a number is recognized by its end.
const MIN_DIGITS: usize = 7;

/// The outcome for each of `identities`, whose request was accepted as a whole, as `sent` says, with
/// `answer`. `failed` makes a failure from a class, a code and what the answer says about the recipient.
pub(super) fn outcomes(
    table: &Results,
    sent: &Sent,
    answer: &ProviderAnswer,
    identities: &[Identity],
    failed: impl Fn((FailureClass, String), &str) -> Failure,
) -> Outcomes {
    let unknown = |code: &'static str, why: &str| -> Outcome {
        Err(Failure { http_status: sent.http_status, ..Failure::unknown(code, why) })
    };
    let body = answer.body.value();
    if body.is_none() && !answer.complete {
        return Outcomes::every(unknown("answer_cut", "the answer ended before it was complete"));
    }
    let found = body.and_then(|body| table.each.items(body, usize::MAX).ok().flatten());
    let items = found.unwrap_or_default();
    let results: Vec<_> = items
        .iter()
        .map(|Item { value, .. }| {
            let identity = table.identity.as_ref().and_then(|place| place.find_in(value));
            (identity.unwrap_or_default(), outcome(table, sent, value, &failed))
        })
        .collect();
    let each = match &table.identity {
        Some(_) => by_recipient(identities, results),
        None if results.len() == identities.len() => {
            results.into_iter().map(|(_, outcome)| Some(outcome)).collect()
        }
        None => vec![None; identities.len()],
    };
    let why = "the answer says nothing about this recipient (send.results)";
    each.into_iter().map(|outcome| outcome.unwrap_or_else(|| unknown("no_outcome", why))).collect()
}

/// What `item` says about its recipient.
fn outcome(
    table: &Results,
    sent: &Sent,
    item: &Value,
    failed: &impl Fn((FailureClass, String), &str) -> Failure,
) -> Outcome {
    let taken = || {
        let id = table.external_id.as_ref().and_then(|place| place.find_in(item));
        Ok(Sent { external_id: id.or_else(|| sent.external_id.clone()), ..sent.clone() })
    };
    if table.success.as_ref().is_some_and(|success| success.is_in(item)) {
        return taken();
    }
    let known = table.failures.iter().find_map(|known| known.meant(known.at.find_in(item)));
    match known {
        None if table.success.is_none() => taken(),
        None => Err(failed((FailureClass::Transient, "not_accepted".to_owned()), &item.to_string())),
        Some(known) => Err(failed(known, &item.to_string())),
    }
}

/// Identities that are one recipient for a provider, and what its answer says about it.
struct Group {
    key: String,
    /// Their places among the request's identities.
    places: Vec<usize>,
    outcomes: Vec<Outcome>,
}

/// The outcomes in the order of `identities`, matched by the recipient that each result names.
fn by_recipient(identities: &[Identity], results: Vec<(String, Outcome)>) -> Vec<Option<Outcome>> {
    let mut groups: Vec<Group> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for (place, identity) in identities.iter().enumerate() {
        let key = key(identity.as_str());
        let group = *known.entry(key.clone()).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Group { key, places: Vec::new(), outcomes: Vec::new() });
        }
        groups[group].places.push(place);
    }
    let mut others: Vec<(String, Vec<Outcome>)> = Vec::new();
    for (name, outcome) in results {
        let key = key(&name);
        if let Some(group) = known.get(&key).copied().or_else(|| (groups.len() == 1).then_some(0)) {
            groups[group].outcomes.push(outcome);
        } else if let Some((_, outcomes)) = others.iter_mut().find(|(other, _)| *other == key) {
            outcomes.push(outcome);
        } else {
            others.push((key, vec![outcome]));
        }
    }
    by_ending(&mut groups, others);
    let mut each = vec![None; identities.len()];
    groups.into_iter().for_each(|group| group.into_places(&mut each));
    each
}

/// Matches numbers that are not written like any recipient with recipients that have no outcome, if one of
/// the two ends with the other: one has a country code, the other has none. A number that fits several is
/// not matched.
fn by_ending(groups: &mut [Group], others: Vec<(String, Vec<Outcome>)>) {
    let fits = |ours: &str, theirs: &str| {
        let digits = |text: &str| text.len() >= MIN_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
        digits(ours) && digits(theirs) && (ours.ends_with(theirs) || theirs.ends_with(ours))
    };
    let open: Vec<usize> = (0..groups.len()).filter(|&group| groups[group].outcomes.is_empty()).collect();
    let fitting = |name: &str| -> Vec<usize> {
        open.iter().copied().filter(|&group| fits(&groups[group].key, name)).collect()
    };
    let only: Vec<Option<usize>> = others
        .iter()
        .map(|(name, _)| match fitting(name)[..] {
            [group] => Some(group),
            _ => None,
        })
        .collect();
    for ((_, outcomes), group) in others.into_iter().zip(&only) {
        let Some(group) = *group else { continue };
        if only.iter().filter(|other| **other == Some(group)).count() == 1 {
            groups[group].outcomes = outcomes;
        }
    }
}

impl Group {
    /// Writes the outcomes to their places, in order. If there are too few, the last one counts for all
    /// further places. If there are too many, as with a text in several parts, the last place takes the
    /// rest, and a success among them counts first.
    fn into_places(self, each: &mut [Option<Outcome>]) {
        let last = self.places.len() - 1;
        for (number, &place) in self.places.iter().enumerate() {
            let theirs =
                if number < last { self.outcomes.get(number..=number) } else { self.outcomes.get(number..) };
            let theirs = theirs.filter(|theirs| !theirs.is_empty());
            let outcome = match theirs {
                Some(theirs) => theirs.iter().find(|outcome| outcome.is_ok()).or(theirs.first()),
                None => self.outcomes.last(),
            };
            each[place] = outcome.cloned();
        }
    }
}

/// A form of a recipient that is the same in every spelling: the digits of a number without leading zeros,
/// or any other text unchanged except for spaces around it.
fn key(name: &str) -> String {
    let name = name.trim();
    let written =
        |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | '(' | ')' | '/' | ' ' | '\u{a0}');
    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() || !name.chars().all(written) { name.to_owned() } else { digits.to_owned() }
}

#[cfg(test)]
mod tests;
