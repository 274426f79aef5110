//! One attempt to send a message: the parts of its text, one after the other, each to the recipients who
//! got the part before it, and what became of the message for each recipient.
//!
//! A text is split here, when it is sent, and not when it is accepted. Several queued messages would arrive
//! in any order after a retry; and if the parts went through the queue one at a time, each would wait
//! behind all other messages. The price is a longer moment in which a crash repeats what was sent. Where a
//! part ends depends only on the text from its beginning on, so the rest of a text has the same parts as
//! before.

use crate::{
    connectors::Call,
    flow::{IsCancelled, PacedSender, WorkPermit},
    outcome::{NOT_BEGUN, Sent},
    retry::{Disposition, Schedule},
};
use jiff::Timestamp;
use postern_config::backend::BackendConfig;
use postern_service::traces::Scope;
use postern_shared::{
    error::Failure,
    message::{Identity, Outbound},
    text::{
        media::{MEDIA, MediaUse},
        policy::Prepared,
    },
};
use std::sync::Arc;

/// What it takes to send the messages of one backend.
pub(crate) struct Sending {
    /// The backend.
    pub(crate) backend: Arc<BackendConfig>,
    /// The backend's sender, behind its flow control.
    pub(crate) sender: PacedSender,
    /// When failures are retried.
    pub(crate) schedule: Schedule,
}

/// An attempt and its results.
#[derive(Debug)]
pub(crate) struct Attempt<'m> {
    /// The message that was to be sent.
    pub(crate) message: &'m Outbound,
    /// The text as the provider gets it. `None` if it was refused or not prepared.
    prepared: Option<Prepared<'m>>,
    /// One result for each identity, in their order.
    pub(crate) results: Vec<RecipientResult>,
}

/// The result of an attempt for one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecipientResult {
    /// What becomes of the last part if all were sent, else of the first part that was not sent.
    pub(crate) disposition: Disposition,
    /// The parts before the one in `disposition`. The provider has them: they are never sent again.
    pub(crate) before: Vec<Sent>,
}

/// How far an attempt came for a recipient, and therefore what is left of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Progress {
    /// How many parts the recipient got in this attempt.
    pub(crate) parts: usize,
    /// Whether the provider may have the rest.
    pub(crate) maybe_sent: bool,
}

/// The parts of a message that one recipient got, and why the next part failed.
#[derive(Debug, Clone, Default)]
struct PartsProgress {
    sent: Vec<Sent>,
    failure: Option<Failure>,
}

impl PartsProgress {
    fn is_not_begun(&self) -> bool {
        self.sent.is_empty() && self.failure.as_ref().is_some_and(|failure| failure.code == NOT_BEGUN)
    }
}

impl RecipientResult {
    /// The result of an attempt to send `message`.
    fn of(message: &Outbound, disposition: Disposition, before: Vec<Sent>) -> Self {
        let result = Self { disposition, before };
        match result.maybe_sent(message) {
            true => Self { disposition: result.disposition.in_doubt(), ..result },
            false => result,
        }
    }

    /// Whether the provider may have the text that is left for the recipient. An earlier attempt that was not
    /// answered leaves no doubt once the provider accepted the part that it was about.
    fn maybe_sent(&self, message: &Outbound) -> bool {
        let unanswered = self.disposition.failure().is_some_and(Failure::was_unanswered);
        unanswered || (message.maybe_sent && self.before.is_empty())
    }

    /// How far the attempt came with `message` for the recipient.
    pub(crate) fn progress(&self, message: &Outbound) -> Progress {
        Progress { parts: self.before.len(), maybe_sent: self.maybe_sent(message) }
    }

    /// The parts that the provider accepted.
    pub(crate) fn sent(&self) -> impl Iterator<Item = &Sent> {
        let last = match &self.disposition {
            Disposition::Sent(sent) => Some(sent),
            _ => None,
        };
        self.before.iter().chain(last)
    }
}

impl<'m> Attempt<'m> {
    /// An attempt with these `dispositions`, one for each identity, in which no earlier part was sent.
    pub(crate) fn of(
        message: &'m Outbound,
        prepared: Option<Prepared<'m>>,
        dispositions: Vec<Disposition>,
    ) -> Self {
        let result = |disposition| RecipientResult::of(message, disposition, Vec::new());
        Self { message, prepared, results: dispositions.into_iter().map(result).collect() }
    }

    /// An attempt that is not made: all identities are given up because of `failure`.
    pub(crate) fn given_up(message: &'m Outbound, failure: &Failure) -> Self {
        Self::of(message, None, vec![Disposition::Dead(failure.clone()); message.identities.len()])
    }

    /// Each identity with its result.
    pub(crate) fn each(&self) -> impl Iterator<Item = (&Identity, &RecipientResult)> {
        self.message.identities.iter().zip(&self.results)
    }

    /// The disposition for each identity.
    pub(crate) fn dispositions(&self) -> impl Iterator<Item = &Disposition> {
        self.results.iter().map(|result| &result.disposition)
    }

    /// What is left of the message for `identities`, with each of whom the attempt came equally far.
    pub(crate) fn rest(
        &self,
        Progress { parts, maybe_sent }: Progress,
        identities: Vec<Identity>,
    ) -> Outbound {
        let rest = Outbound { identities, maybe_sent, ..self.message.clone() };
        match &self.prepared {
            Some(prepared) if parts > 0 => Outbound {
                text: prepared.after(parts).to_owned(),
                parts_sent: rest.parts_sent.saturating_add(u32::try_from(parts).unwrap_or(u32::MAX)),
                ..rest
            },
            _ => rest,
        }
    }

    /// How many segments of the text the recipient of `result` got, and how many are left. `None` if the
    /// provider does not count in segments.
    pub(crate) fn segments(&self, result: &RecipientResult) -> Option<(usize, usize)> {
        let prepared = self.prepared.as_ref()?;
        let sent = result.sent().count();
        let cost = |from, to| prepared.cost(from, to).map(|cost| cost.segments);
        cost(0, sent).zip(cost(sent, prepared.len()))
    }
}

impl Sending {
    /// Attempts to send `message`, with spans below `scope`, until it is cancelled. `None` if sending did not
    /// begin for any recipient.
    pub(crate) async fn attempt<'m>(
        &self,
        message: &'m Outbound,
        work: &WorkPermit,
        scope: &Scope,
        is_cancelled: IsCancelled<'_>,
    ) -> Option<Attempt<'m>> {
        let before = usize::try_from(message.parts_sent).unwrap_or(usize::MAX);
        let policy = &self.backend.definition.text;
        let text = match policy.with_media(&message.text, &message.context, before) {
            Ok(text) => text,
            Err(why) => {
                return Some(Attempt::given_up(message, &Failure::permanent(why.code(), why.to_string())));
            }
        };
        let prepared = match policy.prepare(text, before) {
            Ok(prepared) => prepared,
            Err(why) => {
                let why = format!("backends.{}.text.limit: {why}", self.backend.name);
                return Some(Attempt::given_up(message, &Failure::permanent("text_too_long", why)));
            }
        };
        if message.expired(Timestamp::now()) {
            let expired = vec![Disposition::Expired(None); message.identities.len()];
            return Some(Attempt::of(message, Some(prepared), expired));
        }
        let progress = self.send(message, &prepared, (work, scope, is_cancelled)).await;
        if progress.iter().all(PartsProgress::is_not_begun) {
            return None;
        }
        let results = results(&self.schedule, message, progress, Timestamp::now());
        Some(Attempt { message, prepared: Some(prepared), results })
    }

    /// Sends the parts in order. A recipient who misses one part gets none of the later parts. Nothing is
    /// sent to an identity that is not exactly one recipient.
    async fn send(
        &self,
        message: &Outbound,
        prepared: &Prepared<'_>,
        (work, scope, is_cancelled): (&WorkPermit, &Scope, IsCancelled<'_>),
    ) -> Vec<PartsProgress> {
        let mut progress: Vec<_> = message.identities.iter().map(|to| self.begin(to)).collect();
        // Media are sent with the first part, unless their URLs are in the text.
        let first = self.backend.definition.text.media == MediaUse::Send && message.parts_sent == 0;
        let plain = message.context.contains_key(MEDIA).then(|| {
            let mut plain = message.context.clone();
            plain.shift_remove(MEDIA);
            plain
        });
        for part in 0..prepared.len() {
            let with_media = first && part == 0;
            let context = plain.as_ref().filter(|_| !with_media).unwrap_or(&message.context);
            let (places, identities) = reached(message, &progress);
            if places.is_empty() {
                break;
            }
            let text = prepared.part(part);
            let call = Call { message, text: &text, context, identities: &identities, scope };
            let outcomes = self.sender.send(work, call, is_cancelled).await;
            for (place, outcome) in places.into_iter().zip(outcomes) {
                match outcome {
                    Ok(sent) => progress[place].sent.push(sent),
                    Err(failure) => progress[place].failure = Some(failure),
                }
            }
        }
        progress
    }

    fn begin(&self, identity: &Identity) -> PartsProgress {
        let failure = self.backend.definition.connector.check_identity(identity).err();
        let failure = failure.map(|why| Failure::permanent("invalid_number", format!("the identity {why}")));
        PartsProgress { sent: Vec::new(), failure }
    }
}

/// The identities that got every part so far, with their positions in the message.
fn reached(message: &Outbound, progress: &[PartsProgress]) -> (Vec<usize>, Vec<Identity>) {
    let all = message.identities.iter().zip(progress).enumerate();
    all.filter(|(_, (_, progress))| progress.failure.is_none())
        .map(|(place, (identity, _))| (place, identity.clone()))
        .unzip()
}

fn results(
    schedule: &Schedule,
    message: &Outbound,
    progress: Vec<PartsProgress>,
    now: Timestamp,
) -> Vec<RecipientResult> {
    let (mut outcomes, mut before) = (Vec::new(), Vec::new());
    for PartsProgress { mut sent, failure } in progress {
        outcomes.push(match failure {
            Some(failure) => Err(failure),
            None => Ok(sent.pop().unwrap_or_default()),
        });
        before.push(sent);
    }
    let dispositions = schedule.dispositions(message, outcomes, now);
    let result = |(disposition, before)| RecipientResult::of(message, disposition, before);
    dispositions.into_iter().zip(before).map(result).collect()
}

#[cfg(test)]
mod tests;
