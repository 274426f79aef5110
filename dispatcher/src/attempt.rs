//! One attempt: the parts of a message's text, one after the other, each to those who got the one
//! before.

use crate::{
    backends::{LONGEST, Sent},
    dispatch::Station,
    flow::{NOT_BEGUN, Pass},
    retry::{Schedule, Verdict},
};
use jiff::Timestamp;
use postern_config::backend::text::Prepared;
use postern_shared::{
    error::Failure,
    message::{Identity, Outbound},
};
use std::time::Instant;

/// What one attempt came to.
#[derive(Debug)]
pub(crate) struct Attempt<'m> {
    /// What was to be sent.
    pub(crate) message: &'m Outbound,
    /// Its text as the provider gets it; absent where it was refused.
    prepared: Option<Prepared<'m>>,
    /// One for each identity, in their order.
    pub(crate) fates: Vec<Fate>,
}

/// What an attempt came to for one identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fate {
    /// Of the last part, or of the one that was not sent.
    pub(crate) verdict: Verdict,
    /// The parts before it. The provider has them: they are never sent again.
    pub(crate) before: Vec<Sent>,
}

/// How far a message of several parts came with one identity.
#[derive(Debug, Clone, Default)]
struct Course {
    sent: Vec<Sent>,
    failure: Option<Failure>,
}

impl Course {
    fn is_not_begun(&self) -> bool {
        self.sent.is_empty() && self.failure.as_ref().is_some_and(|failure| failure.code == NOT_BEGUN)
    }
}

impl Fate {
    /// The parts that the provider took over.
    pub(crate) fn sent(&self) -> impl Iterator<Item = &Sent> {
        let last = match &self.verdict {
            Verdict::Sent(sent) => Some(sent),
            _ => None,
        };
        self.before.iter().chain(last)
    }
}

impl<'m> Attempt<'m> {
    /// One in which no part was sent before the one that each of `verdicts` is about.
    pub(crate) fn of(message: &'m Outbound, prepared: Option<Prepared<'m>>, verdicts: Vec<Verdict>) -> Self {
        let fates = verdicts.into_iter().map(|verdict| Fate { verdict, before: Vec::new() }).collect();
        Self { message, prepared, fates }
    }

    /// The identities and their fates.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&Identity, &Fate)> {
        self.message.identities.iter().zip(&self.fates)
    }

    /// The verdicts.
    pub(crate) fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.fates.iter().map(|fate| &fate.verdict)
    }

    /// The message as it is still to be sent to `identities`, who have `parts` more parts of it.
    pub(crate) fn rest(&self, parts: usize, identities: Vec<Identity>) -> Outbound {
        let rest = Outbound { identities, ..self.message.clone() };
        match &self.prepared {
            Some(prepared) if parts > 0 => Outbound {
                text: prepared.after(parts).to_owned(),
                parts_sent: rest.parts_sent.saturating_add(u32::try_from(parts).unwrap_or(u32::MAX)),
                ..rest
            },
            _ => rest,
        }
    }

    /// The segments that were sent with `fate`, and those that were not; `None` where the provider
    /// does not count in them.
    pub(crate) fn segments(&self, fate: &Fate) -> Option<(usize, usize)> {
        let prepared = self.prepared.as_ref()?;
        let sent = fate.sent().count();
        let cost = |from, to| prepared.cost(from, to).map(|cost| cost.segments);
        cost(0, sent).zip(cost(sent, prepared.len()))
    }
}

impl Station {
    /// What the attempt that `message` is comes to for each of its identities; `None` where nothing
    /// of it was begun.
    pub(crate) async fn attempt<'m>(&self, message: &'m Outbound, pass: &Pass) -> Option<Attempt<'m>> {
        let number = message.identities.len();
        let before = usize::try_from(message.parts_sent).unwrap_or(usize::MAX);
        let prepared = match self.text.prepare(&message.text, before) {
            Ok(prepared) => prepared,
            Err(why) => {
                let why = format!("backends.{}.text.limit: {why}", self.name);
                let dead = Verdict::Dead(Failure::permanent("text_too_long", why));
                return Some(Attempt::of(message, None, vec![dead; number]));
            }
        };
        if message.expired(Timestamp::now()) {
            return Some(Attempt::of(message, Some(prepared), vec![Verdict::Expired(None); number]));
        }
        let courses = self.send(message, &prepared, pass).await;
        if courses.iter().all(Course::is_not_begun) {
            return None;
        }
        let fates = fates(&self.schedule, message, courses, Timestamp::now());
        Some(Attempt { message, prepared: Some(prepared), fates })
    }

    /// Sends the parts in order. Whom one does not reach gets none of those behind it.
    async fn send(&self, message: &Outbound, prepared: &Prepared<'_>, pass: &Pass) -> Vec<Course> {
        let begun = Instant::now();
        let mut courses = vec![Course::default(); message.identities.len()];
        for part in 0..prepared.len() {
            let (places, identities) = reached(message, &courses);
            if places.is_empty() {
                break;
            }
            let late = begun.elapsed() + self.sender.deadline(identities.len()) > LONGEST;
            let outcomes = if part > 0 && late {
                let why = "the parts before this one took too long: it was not begun";
                vec![Err(Failure::transient(NOT_BEGUN, why)); identities.len()]
            } else {
                self.sender.send(pass, message, &prepared.part(part), &identities).await
            };
            for (place, outcome) in places.into_iter().zip(outcomes) {
                match outcome {
                    Ok(sent) => courses[place].sent.push(sent),
                    Err(failure) => courses[place].failure = Some(failure),
                }
            }
        }
        courses
    }
}

/// Those who have every part so far: their places among the identities, and they.
fn reached(message: &Outbound, courses: &[Course]) -> (Vec<usize>, Vec<Identity>) {
    let all = message.identities.iter().zip(courses).enumerate();
    all.filter(|(_, (_, course))| course.failure.is_none())
        .map(|(place, (identity, _))| (place, identity.clone()))
        .unzip()
}

fn fates(schedule: &Schedule, message: &Outbound, courses: Vec<Course>, now: Timestamp) -> Vec<Fate> {
    let (mut outcomes, mut before) = (Vec::new(), Vec::new());
    for Course { mut sent, failure } in courses {
        outcomes.push(match failure {
            Some(failure) => Err(failure),
            None => Ok(sent.pop().unwrap_or_default()),
        });
        before.push(sent);
    }
    let verdicts = schedule.verdicts(message, outcomes, now);
    verdicts.into_iter().zip(before).map(|(verdict, before)| Fate { verdict, before }).collect()
}

#[cfg(test)]
mod tests;
