//! Storing what a provider's request brought: in one publish, without what was stored before.

use super::{endpoint::SignedOnce, reporter::Reported, take::Brought};
use crate::{
    dedup::{Claim, PublishClaim},
    state::IngressState,
};
use actix_web::http::StatusCode;
use postern_broker::{Address, Envelope};
use postern_service::traces::RequestSpan;
use postern_shared::{
    callback::Callback,
    message::{BackendName, CallbackEvent, Inbound, MessageId},
};

/// The broker did not confirm. As far as is known, nothing is stored.
pub(super) struct NotStored;

/// Publishes all that a request brought in one step, except messages that were stored before. Nothing is
/// published if the same request, with the same signed time, was stored before. Returns `Ok` only once the
/// broker has confirmed the publish.
pub(super) async fn store(
    backend: &BackendName,
    Brought { messages, reports, signed, reservation: _reservation, .. }: Brought,
    (token, trace): (Option<&str>, &RequestSpan),
    state: &IngressState,
) -> Result<(), NotStored> {
    let request = match signed {
        Some(SignedOnce { id, accepted_for }) => {
            state.signed_requests.within(accepted_for).claim(&[id]).await.pop()
        }
        None => None,
    };
    if matches!(request, Some(Claim::Duplicate(()))) {
        messages.iter().for_each(|_| state.metrics.duplicate(backend));
        return Ok(());
    }
    let (messages, claims) = unknown(backend, messages, state).await;
    let messages = messages.iter().map(|message| (Address::Inbound(backend.clone()), message.into()));
    let envelopes_of = |reported| report(reported, token, state);
    let reported = reports.iter().flat_map(envelopes_of);
    let envelopes: Vec<_> = messages
        .chain(reported)
        .map(|(address, mut envelope): (_, Envelope)| {
            envelope.set_trace(trace.context());
            (address, envelope)
        })
        .collect();
    if !envelopes.is_empty() {
        state.publisher.publish(envelopes, &trace.scope()).await.map_err(|_| NotStored)?;
    }
    reports.iter().for_each(|reported| state.metrics.reports.count(&reported.report));
    claims.into_iter().for_each(|claim| claim.stored(()));
    if let Some(Claim::New(request)) = request {
        request.stored(());
    }
    Ok(())
}

/// Those of `messages` that were not stored before, and the claims to publish them.
async fn unknown(
    backend: &BackendName,
    messages: Vec<Inbound>,
    state: &IngressState,
) -> (Vec<Inbound>, Vec<PublishClaim>) {
    // A new id contains the time at which it was made, so no earlier message has it.
    let can_be_known = |message: &Inbound| message.id.made_at().is_none();
    let ids: Vec<MessageId> =
        messages.iter().filter(|message| can_be_known(message)).map(|message| message.id).collect();
    let mut claims = state.dedup.claim(&ids).await.into_iter();
    let mut claimed = Vec::new();
    let is_new = |message: &Inbound| match can_be_known(message).then(|| claims.next()).flatten() {
        None => true,
        Some(Claim::New(claim)) => {
            claimed.push(claim);
            true
        }
        Some(Claim::Duplicate(())) => {
            state.metrics.duplicate(backend);
            false
        }
    };
    let new = messages.into_iter().filter(is_new).collect();
    (new, claimed)
}

/// What is published for a report: the report, and the callback that its URL, or else the message log,
/// contains.
fn report(
    reported: &Reported,
    token: Option<&str>,
    state: &IngressState,
) -> impl Iterator<Item = (Address, Envelope)> {
    let backend = &reported.report.backend;
    let event = callback_event(token, state, reported);
    let event = event.map(|event| (Address::Callbacks(backend.clone()), Envelope::from(&event)));
    std::iter::once((Address::Reports(backend.clone()), Envelope::from(&reported.report))).chain(event)
}

/// The callback event about a report for the message's client, if `token` from the report's URL, or else the
/// message log, contains a callback.
fn callback_event(token: Option<&str>, state: &IngressState, reported: &Reported) -> Option<CallbackEvent> {
    let report = &reported.report;
    let token = token.or(reported.callback.as_deref())?;
    // Any publisher can put the token of another message into its own message's row of the log.
    let is_its =
        |callback: &Callback| reported.callback.is_none() || callback.message_id == report.message_id;
    let Some(callback) = state.callback_keys.open(token).filter(is_its) else {
        if state.report_lines.admits(StatusCode::OK.as_u16()) {
            tracing::warn!(
                message_id = %report.message_id,
                "the report's callback was not requested by a currently configured user: not called"
            );
        }
        return None;
    };
    callback.told_of(token, report, reported.provider_word.clone())
}
