//! What a sender answers: for each identity, sent or why not.

use postern_shared::{
    error::Failure,
    message::{Identity, MAX_IDENTITIES, Reason, State},
};
use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

/// The code of a failure that means that sending did not even begin.
pub(crate) const NOT_BEGUN: &str = "not_begun";

/// What became of a message for one identity.
pub type Outcome = Result<Sent, Failure>;

/// Notes in `outcome` how long the attempt took.
pub(crate) fn took(outcome: &mut Outcome, time: Duration) {
    let milliseconds = Some(u32::try_from(time.as_millis()).unwrap_or(u32::MAX));
    match outcome {
        Ok(sent) => sent.duration_ms = milliseconds,
        Err(failure) => failure.duration_ms = milliseconds,
    }
}

/// The provider accepted the message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sent {
    /// The provider's own id of the message to this identity, under which its delivery report comes. One of
    /// more than 512 characters is left out.
    pub external_id: Option<String>,
    /// The status code of the provider's answer. `None` if it has none.
    pub http_status: Option<u16>,
    /// How long the attempt took, in milliseconds. The caller of the sender sets it.
    pub duration_ms: Option<u32>,
}

impl Sent {
    /// Accepted, without an id.
    pub fn without_id() -> Self {
        Self::default()
    }

    /// Accepted under `external_id`.
    pub fn with_id(external_id: impl Into<String>) -> Self {
        Self { external_id: Some(external_id.into()), ..Self::default() }
    }
}

/// A provider's answer about a message that it accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Polled {
    /// What became of the message.
    pub state: State,
    /// Why it was not delivered, or the provider's own state if Postern does not know it.
    pub reason: Option<Reason>,
    /// The provider's own detail of the state, else its word for the state.
    pub word: String,
}

/// What became of a message for each of the identities that a sender was given.
///
/// An identity without an outcome counts as a failure of class `unknown` with the code
/// `no_outcome`: what a sender forgets is never taken for sent, and never lost.
///
/// There are three ways to make one: [`every`](Self::every) if one request served all, collecting an
/// iterator of [`Outcome`]s in the identities' order, and [`by_identity`](Self::by_identity) if the
/// provider's answer names the recipients.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcomes(OutcomeList);

#[derive(Debug, Clone, PartialEq)]
enum OutcomeList {
    Every(Box<Outcome>),
    Each(Vec<Option<Outcome>>),
}

impl Outcomes {
    /// No outcomes yet; [`record`](Self::record) adds them.
    pub fn none() -> Self {
        Self(OutcomeList::Each(Vec::new()))
    }

    /// The same outcome for every identity.
    pub fn every(outcome: Outcome) -> Self {
        Self(OutcomeList::Every(Box::new(outcome)))
    }

    /// The outcomes of a provider that names its recipients. An answer about another recipient is ignored;
    /// an identity that was given twice gets the first two answers for it.
    pub fn by_identity<S: AsRef<str>>(
        identities: &[Identity],
        answers: impl IntoIterator<Item = (S, Outcome)>,
    ) -> Self {
        let mut outcomes = vec![None; identities.len()];
        let mut places: HashMap<&str, VecDeque<usize>> = HashMap::new();
        for (place, identity) in identities.iter().enumerate() {
            places.entry(identity.as_str()).or_default().push_back(place);
        }
        for (identity, outcome) in answers {
            if let Some(place) = places.get_mut(identity.as_ref()).and_then(VecDeque::pop_front) {
                outcomes[place] = Some(outcome);
            }
        }
        Self(OutcomeList::Each(outcomes))
    }

    /// Notes the outcome for the identity at `position`, counted from 0. An identity that is noted as sent
    /// stays sent; a position beyond the identities is ignored.
    pub fn record(&mut self, position: usize, outcome: Outcome) {
        if position >= MAX_IDENTITIES {
            return;
        }
        if let OutcomeList::Every(every) = &self.0 {
            self.0 = OutcomeList::Each(vec![Some((**every).clone()); MAX_IDENTITIES]);
        }
        if let OutcomeList::Each(each) = &mut self.0 {
            if each.len() <= position {
                each.resize(position + 1, None);
            }
            if !matches!(each.get(position), Some(Some(Ok(_)))) {
                each[position] = Some(outcome);
            }
        }
    }

    /// One outcome for each of `number` identities, in their order.
    pub fn into_each(self, number: usize) -> Vec<Outcome> {
        match self.0 {
            OutcomeList::Every(outcome) if number == 1 => vec![*outcome],
            OutcomeList::Every(outcome) => vec![*outcome; number],
            OutcomeList::Each(mut each) => {
                each.resize(number, None);
                each.into_iter().map(|outcome| outcome.unwrap_or_else(forgotten)).collect()
            }
        }
    }
}

fn forgotten() -> Outcome {
    Err(Failure::unknown("no_outcome", "the backend reported no outcome for this recipient"))
}

/// Collects outcomes in the identities' order.
impl FromIterator<Outcome> for Outcomes {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        Self(OutcomeList::Each(outcomes.into_iter().map(Some).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(outcomes: Outcomes, number: usize) -> Vec<String> {
        let code = |outcome: Outcome| match outcome {
            Ok(sent) => sent.external_id.unwrap_or_else(|| "sent".to_owned()),
            Err(failure) => failure.code.to_string(),
        };
        outcomes.into_each(number).into_iter().map(code).collect()
    }

    fn identities(names: &[&str]) -> Vec<Identity> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    #[test]
    fn what_a_sender_forgets_is_unknown() {
        assert_eq!(codes(Outcomes::none(), 2), ["no_outcome", "no_outcome"]);
        let first = [Ok(Sent::with_id("a"))].into_iter().collect();
        assert_eq!(codes(first, 2), ["a", "no_outcome"]);
        let mut second = Outcomes::none();
        second.record(1, Ok(Sent::without_id()));
        assert_eq!(codes(second, 2), ["no_outcome", "sent"]);
    }

    #[test]
    fn what_a_sender_invents_is_left_out() {
        let many = (0..5).map(|n| Ok(Sent::with_id(n.to_string()))).collect();
        assert_eq!(codes(many, 2), ["0", "1"]);
        let other = Outcomes::by_identity(&identities(&["1"]), [("2", Ok(Sent::without_id()))]);
        assert_eq!(codes(other, 1), ["no_outcome"]);
        let mut beyond = Outcomes::none();
        beyond.record(usize::MAX, Ok(Sent::without_id()));
        assert_eq!(codes(beyond, 1), ["no_outcome"]);
    }

    #[test]
    fn answers_find_their_identities_doubles_in_order() {
        let asked = identities(&["1", "2", "1"]);
        let answers =
            [("1", Ok(Sent::with_id("a"))), ("1", Ok(Sent::with_id("b"))), ("2", Ok(Sent::with_id("c")))];
        assert_eq!(codes(Outcomes::by_identity(&asked, answers), 3), ["a", "c", "b"]);
    }

    #[test]
    fn sent_stays_sent() {
        let mut outcomes = Outcomes::every(Ok(Sent::with_id("a")));
        outcomes.record(0, Err(Failure::permanent("late", "")));
        assert_eq!(codes(outcomes, 2), ["a", "a"]);
        let mut outcomes = Outcomes::every(Err(Failure::permanent("early", "")));
        outcomes.record(1, Ok(Sent::with_id("b")));
        assert_eq!(codes(outcomes, 3), ["early", "b", "early"]);
    }
}
