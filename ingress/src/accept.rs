//! Accepting a message that somebody wants sent: the only place that decides who may send it,
//! through which backend, whether its text fits, which id it gets, how its recipients are split, and
//! what is published.
//!
//! A listener turns its protocol's request into a [`Submission`], and the outcome into its protocol's answer.
//! This module knows no HTTP server, and of the protocols only the form of a callback.

mod accepted;
mod idempotency;
mod rejection;

pub(crate) use accepted::Accepted;
pub(crate) use idempotency::{Fingerprint, KeyTaken, SubmissionClaim, Submissions};
pub(crate) use rejection::{Rejected, Rejection, SubmissionField};

use crate::{auth::Principal, log_lookup::LogLookup, publish::MeteredPublisher};
use jiff::Timestamp;
use postern_broker::{
    Address, BrokerError, Envelope,
    header::{BY, SEGMENTS},
};
use postern_config::{
    Config, LogPlace,
    backend::{BackendConfig, connector::CallTable},
};
use postern_service::traces::RequestSpan;
use postern_shared::{
    callback::{CONTEXT_KEY, Callback, CallbackKeys, KannelEvent},
    clock,
    error::Failure,
    message::{
        CallbackEvent, Context, Identity, MAX_CONTEXT_BYTES, MAX_IDENTITIES, MessageId, Outbound, Priority,
        Recipient, Report,
    },
    read::JsonLimits,
};
use std::{collections::BTreeMap, sync::Arc};

/// The most identities that one rejection lists.
const MAX_LISTED: usize = 20;
/// The most bytes of text and context that one submission may have stored. With the default of
/// `send.batch`, no submission has more.
const MAX_STORED: usize = 32 * 1024 * 1024;

/// A message that a principal wants sent.
#[derive(Debug)]
pub(crate) struct Submission {
    /// The backend, or the client's own name for one. `None` if the client names none.
    pub(crate) destination: Option<String>,
    /// The recipients. At least one.
    pub(crate) identities: Vec<Identity>,
    /// Recipients that the listener left out because they are not numbers. They are reported as failed.
    pub(crate) left_out: Vec<Identity>,
    /// The text; may be empty.
    pub(crate) text: String,
    /// The message's context.
    pub(crate) context: Context,
    /// The message's priority.
    pub(crate) priority: Priority,
    /// When it becomes too late to send the message, if the client says so.
    pub(crate) expires_at: Option<Timestamp>,
    /// The claim to the message id that is made from the client's own id. `None`: the message gets a new id.
    pub(crate) claim: Option<SubmissionClaim>,
    /// The delivery callbacks that the client asks for, if any.
    pub(crate) callback: Option<CallbackRequest>,
}

/// The delivery callbacks that a client asks for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CallbackRequest {
    /// The address to call, with Kannel's escapes in it.
    pub(crate) url: String,
    /// The events to call for, as the sum of [`KannelEvent::bit`]s.
    pub(crate) mask: u8,
    /// The values that the callback repeats, each under Kannel's escape for it.
    pub(crate) values: BTreeMap<char, String>,
}

/// The limits on the JSON of a message to send: as many members and items as the recipients and the context
/// of the largest message have. The limits of each are checked when it is read.
pub(crate) const MESSAGE_LIMITS: JsonLimits =
    JsonLimits { values: MAX_IDENTITIES + MAX_CONTEXT_BYTES / 2 + 100, name: usize::MAX, text: usize::MAX };

/// Whether a message may carry `context`.
pub(crate) fn context_fits(context: &Context) -> bool {
    serde_json::to_vec(context).is_ok_and(|json| json.len() <= MAX_CONTEXT_BYTES)
}

/// Accepts messages for the configured backends.
#[derive(Debug)]
pub(crate) struct Acceptor {
    config: Arc<Config>,
    publisher: MeteredPublisher,
    callback_keys: CallbackKeys,
    submissions: Submissions,
    answers: AnswersFor,
}

/// How the answers to clients get into the message log, where other processes look them up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AnswersFor {
    /// There is no log.
    Nobody,
    /// They are published with the messages, in one step: the broker stores all of a publish, or nothing.
    EmbeddedLog,
    /// They are published only after the messages are confirmed: RabbitMQ may store a part of a publish, and
    /// a submission that the log knows is not queued again.
    SharedLog,
}

impl AnswersFor {
    fn of(config: &Config, lookup: &LogLookup) -> Self {
        let embedded = config.message_log().is_some_and(|log| matches!(log.place, LogPlace::Embedded));
        match (lookup.has_log(), embedded) {
            (false, _) => Self::Nobody,
            (true, true) => Self::EmbeddedLog,
            (true, false) => Self::SharedLog,
        }
    }
}

impl Acceptor {
    /// An acceptor that publishes with `publisher` and seals callbacks with `callback_keys`. `submissions`
    /// holds what was accepted before; `lookup` says whether there is a message log for other processes.
    pub(crate) fn new(
        config: Arc<Config>,
        publisher: MeteredPublisher,
        callback_keys: CallbackKeys,
        lookup: &LogLookup,
        submissions: &Submissions,
    ) -> Self {
        let answers = AnswersFor::of(&config, lookup);
        let submissions = submissions.within(config.ingress.dedupe_window.0);
        Self { config, publisher, callback_keys, submissions, answers }
    }

    /// Claims the message id that is made from `key`, the client's own id of a message, for `principal`. If
    /// this process is just publishing another submission under that id, this waits until it is done.
    ///
    /// # Errors
    /// A submission was accepted under the id within `ingress.dedupe_window`.
    pub(crate) async fn claim(
        &self,
        principal: Principal<'_>,
        key: &str,
        fingerprint: Fingerprint,
    ) -> Result<SubmissionClaim, KeyTaken> {
        self.submissions.claim(principal, key, fingerprint).await
    }

    /// The backend that `principal` means by `destination` and may send through.
    ///
    /// # Errors
    /// [`Rejection::Forbidden`], [`Rejection::UnknownBackend`] or [`Rejection::NotRoutable`]. A
    /// principal does not learn whether a backend exists that it may not use.
    pub(crate) fn route(
        &self,
        principal: Principal<'_>,
        destination: Option<&str>,
    ) -> Result<&BackendConfig, Rejection> {
        let name = principal.route(destination).ok_or(Rejection::NotRoutable)?;
        // A compatibility user's table may lead to backends that the user may not name directly.
        if !matches!(principal, Principal::CompatUser(_)) && !principal.may_use(&name) {
            return Err(Rejection::Forbidden(name));
        }
        self.config.backends.get(&name).map(|backend| &**backend).ok_or(Rejection::UnknownBackend(name))
    }

    /// Stores a message in one confirmed publish: one queued message for each `send.batch` recipients, all
    /// under one id, and the report and the callbacks about recipients that were left out.
    ///
    /// # Errors
    /// [`Rejected`], with the reason.
    pub(crate) async fn accept(
        &self,
        principal: Principal<'_>,
        mut submission: Submission,
        trace: &RequestSpan,
    ) -> Result<Accepted, Rejected> {
        let nowhere = |reason| Rejected { backend: None, reason };
        let backend = self.route(principal, submission.destination.as_deref()).map_err(nowhere)?;
        let name = &backend.name;
        if !backend.definition.connector.sends() {
            return Err(nowhere(Rejection::ReceivesOnly(name.clone())));
        }
        let rejected = |reason| Rejected { backend: Some(name.clone()), reason };
        submission.identities =
            submission.identities.into_iter().map(|written| backend.definition.identity(written)).collect();
        recipients(backend, &submission.identities).map_err(rejected)?;
        let text = backend.definition.text.with_media(&submission.text, &submission.context, 0);
        let text = text.map_err(|why| rejected(Rejection::Media { backend: name.clone(), why }))?;
        let prepared = backend.definition.text.prepare(text, 0);
        let prepared =
            prepared.map_err(|why| rejected(Rejection::TextTooLong { backend: name.clone(), why }))?;
        let claim = submission.claim.take();
        let accepted = Accepted {
            id: claim.as_ref().map_or_else(MessageId::new, SubmissionClaim::id),
            backend: name.clone(),
            identities: submission.identities.len(),
            parts: prepared.len(),
            cost: prepared.cost(0, prepared.len()),
            at: clock::now(),
        };
        let mut messages = self.messages(principal, submission, &accepted).map_err(rejected)?;
        let event = || claim.as_ref()?.event(&accepted, principal.shown_name());
        let (together, behind) = match self.answers {
            AnswersFor::Nobody => (None, None),
            AnswersFor::EmbeddedLog => (event(), None),
            AnswersFor::SharedLog => (None, event()),
        };
        messages.extend(together);
        let mark = |message| marked(message, principal, &accepted, trace);
        let marked = messages.into_iter().map(mark).collect();
        let published = self.publisher.publish(marked, &trace.scope()).await;
        published.map_err(|error| match error {
            BrokerError::Refused(_) => rejected(Rejection::TooLarge),
            _ => rejected(Rejection::Unavailable),
        })?;
        if let Some(event) = behind {
            self.publisher.publish_behind(mark(event)).await;
        }
        if let Some(claim) = claim {
            claim.stored(&accepted);
        }
        Ok(accepted)
    }

    /// The messages, reports and callback events that are published for a submission.
    fn messages(
        &self,
        principal: Principal<'_>,
        mut submission: Submission,
        accepted: &Accepted,
    ) -> Result<Vec<(Address, Envelope)>, Rejection> {
        let callback = self.callback(principal, &submission, accepted.id)?;
        if let Some((_, token)) = &callback {
            submission.context.insert(CONTEXT_KEY.to_owned(), token.clone().into());
        }
        if !context_fits(&submission.context) {
            return Err(Rejection::ContextTooLarge);
        }
        let left_out = std::mem::take(&mut submission.left_out);
        let mut messages = self.outbound(submission, accepted)?;
        if !left_out.is_empty() {
            messages.extend(left_out_messages(left_out, accepted, callback));
        }
        Ok(messages)
    }

    /// The callback that the client wants, and the token that it is sealed in.
    fn callback(
        &self,
        principal: Principal<'_>,
        submission: &Submission,
        message_id: MessageId,
    ) -> Result<Option<(Callback, String)>, Rejection> {
        let Some(CallbackRequest { url, mask, values }) = submission.callback.clone() else {
            return Ok(None);
        };
        let to = match &submission.identities[..] {
            [only] => Some(only.clone()),
            _ => None,
        };
        let user = principal.name().to_owned();
        let callback = Callback { message_id, user, url, mask, to, values };
        let token = self.callback_keys.seal(&callback).ok_or(Rejection::ContextTooLarge)?;
        // A token that is too long cannot be opened again.
        if self.callback_keys.open(&token).is_none() {
            return Err(Rejection::ContextTooLarge);
        }
        Ok(Some((callback, token)))
    }

    /// One message for each `send.batch` recipients, in order.
    fn outbound(
        &self,
        submission: Submission,
        accepted: &Accepted,
    ) -> Result<Vec<(Address, Envelope)>, Rejection> {
        let Submission { identities, text, context, priority, expires_at, .. } = submission;
        let backend = self.config.backends.get(&accepted.backend);
        let calls = backend.map_or_else(CallTable::default, |backend| backend.definition.connector.calls());
        let batch = calls.batch.max(1);
        let mut message = Outbound {
            id: accepted.id,
            backend: accepted.backend.clone(),
            identities: Vec::new(),
            text,
            context,
            priority,
            created_at: accepted.at,
            expires_at,
            attempt: 1,
            deferred: 0,
            parts_sent: 0,
            maybe_sent: false,
        };
        let without_recipients = message.to_json().len();
        if without_recipients.saturating_mul(identities.len().div_ceil(batch)) > MAX_STORED {
            return Err(Rejection::TooMuchToStore(batch));
        }
        let address = Address::Outbound(accepted.backend.clone(), priority);
        let envelopes = identities.chunks(batch).map(|some| {
            message.identities = some.to_vec();
            (address.clone(), Envelope::from(&message))
        });
        Ok(envelopes.collect())
    }
}

/// Adds what a message is published with: its trace and, for the message log, the principal and the segments
/// of an outbound message.
fn marked(
    (address, mut envelope): (Address, Envelope),
    principal: Principal<'_>,
    accepted: &Accepted,
    trace: &RequestSpan,
) -> (Address, Envelope) {
    envelope.set_trace(trace.context());
    if matches!(address, Address::Outbound(..)) {
        if let Some(name) = principal.shown_name() {
            envelope = envelope.with(BY, name);
        }
        if let Some(cost) = accepted.cost {
            envelope = envelope.with(SEGMENTS, i64::try_from(cost.segments).unwrap_or(i64::MAX));
        }
    }
    (address, envelope)
}

/// Whether each of `identities` is one recipient of `backend`.
fn recipients(backend: &BackendConfig, identities: &[Identity]) -> Result<(), Rejection> {
    let connector = &backend.definition.connector;
    let wrong = identities.iter().enumerate();
    let wrong =
        wrong.filter_map(|(position, identity)| Some((position, connector.check_identity(identity).err()?)));
    let wrong: Vec<_> = wrong.take(MAX_LISTED).collect();
    if wrong.is_empty() { Ok(()) } else { Err(Rejection::NotRecipients(wrong)) }
}

/// The messages about recipients that were left out: callback events if the client asked for them, and a
/// report that the recipients failed.
fn left_out_messages(
    left_out: Vec<Identity>,
    accepted: &Accepted,
    callback: Option<(Callback, String)>,
) -> Vec<(Address, Envelope)> {
    let (id, backend, at) = (accepted.id, &accepted.backend, accepted.at);
    let failure = Failure::permanent("invalid_number", "not a number: only digits, + and - are allowed");
    let mut messages = Vec::new();
    if let Some((_, token)) = callback.filter(|(callback, _)| callback.wants(KannelEvent::Refused)) {
        messages.extend(left_out.iter().map(|identity| {
            let callback_event = CallbackEvent {
                message_id: id,
                backend: backend.clone(),
                callback: token.clone(),
                event: KannelEvent::Refused.bit(),
                identity: Some(identity.clone()),
                external_id: None,
                reply: format!("NACK/{}", failure.code),
                at,
            };
            (Address::Callbacks(backend.clone()), Envelope::from(&callback_event))
        }));
    }
    let recipients = left_out.into_iter().map(|identity| Recipient::failed(identity, &failure)).collect();
    let report = Report { message_id: id, backend: backend.clone(), attempt: 0, at, recipients };
    messages.push((Address::Reports(backend.clone()), Envelope::from(&report)));
    messages
}

#[cfg(test)]
mod tests;
