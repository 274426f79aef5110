//! `/backends/<name>` and `/backends/<name>/status`: a provider brings messages and delivery reports.
//!
//! The handler finds the backend, asks its [`Provider`](crate::provider::Provider) what the request
//! brings, stores all of that in one publish, and answers 2xx once the broker has confirmed it.

use crate::{
    answer::{Answer, Charge, text, unavailable},
    dedup::{Claim, PublishClaim},
    provider::{Brought, ProviderPath, Reported, Taken},
    report_lookup::{self, Callbacks},
    state::IngressState,
    trace_context,
};
use actix_web::{
    HttpRequest, HttpResponse,
    dev::Payload,
    http::{StatusCode, header},
};
use postern_broker::{Address, Envelope};
use postern_service::traces::RequestSpan;
use postern_shared::{
    callback::Callback,
    message::{BackendName, CallbackEvent, Inbound, MessageId},
    trace_context::from_path,
};

/// Stores what a request to `/backends/<name>` brings.
pub(crate) async fn messages(request: &HttpRequest, payload: &mut Payload, state: &IngressState) -> Answer {
    answer(ProviderPath::Messages, request, payload, state).await
}

/// Stores what a request to `/backends/<name>/status` brings.
pub(crate) async fn status(request: &HttpRequest, payload: &mut Payload, state: &IngressState) -> Answer {
    answer(ProviderPath::Reports, request, payload, state).await
}

async fn answer(
    path: ProviderPath,
    request: &HttpRequest,
    payload: &mut Payload,
    state: &IngressState,
) -> Answer {
    let provider = request.match_info().get("name").and_then(|name| state.providers.get(name));
    let Some(provider) = provider else {
        return text(StatusCode::NOT_FOUND, "unknown backend").into();
    };
    let endpoint = match provider.reached(path, request) {
        Ok(endpoint) => endpoint,
        Err(why) => return text(StatusCode::NOT_FOUND, why).into(),
    };
    let began = state.traces.began();
    let mut trace = RequestSpan::without_span(None);
    let mut answer = match provider.take(path, request, payload, &state.limits).await {
        Ok(Taken::Challenge(reply, charge)) => {
            let mut answer = Answer::from(handshake(reply)).charged(charge);
            answer.log.items = Some(0);
            answer
        }
        Ok(Taken::Brought(mut brought)) => {
            // What its address says beside the report: the callback that a client asked for, and the trace in
            // which the message was sent.
            let (token, sent_in) = from_path(request.match_info().get("callback").unwrap_or_default());
            let token = Some(token).filter(|token| !token.is_empty());
            trace = trace_context::span(&state.traces, request, began, endpoint.traces(request, sent_in));
            report_lookup::resolve(&state.lookup, &mut brought.reports, looked_up(token, state)).await;
            let (count, only_id, replaced) = (brought.len(), brought.only_id(), brought.replaced());
            state.metrics.replaced(&endpoint.name, replaced);
            let (invalid, fields) = (brought.invalid.count, brought.invalid.errors.fields());
            state.metrics.invalid_items(&endpoint.name, invalid);
            let stored = if count == 0 {
                state.metrics.ignored(&endpoint.name);
                Ok(())
            } else {
                store(&endpoint.name, brought, (token, &trace), state).await
            };
            let response = stored.map_or_else(|NotStored| unavailable(), |()| endpoint.reply());
            let mut answer = Answer::from(response).charged(Charge::Nothing);
            (answer.log.message, answer.log.items, answer.log.replaced) = (only_id, Some(count), replaced);
            (answer.log.invalid, answer.log.fields) = (invalid, fields);
            answer
        }
        Err(refusal) => refusal.answer(&state.limits.body),
    };
    answer.log.backend = Some(endpoint.name.clone());
    answer.log.trace = Some(trace);
    answer
}

/// The answer to a handshake: its body to the letter, and never taken for a page, since anybody may have
/// written it.
fn handshake(reply: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(reply)
}

/// The broker did not confirm: nothing is stored as far as is known.
struct NotStored;

/// Publishes all that a request brought in one step, but for the messages that were stored before; nothing if
/// the request is one that was taken before, signed at the same moment. `Ok` once the broker has confirmed it,
/// and no sooner.
async fn store(
    backend: &BackendName,
    Brought { messages, reports, repeated, .. }: Brought,
    (token, trace): (Option<&str>, &RequestSpan),
    state: &IngressState,
) -> Result<(), NotStored> {
    let request = state.signed_requests.claim(repeated.as_slice()).await.pop();
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

/// Those of `messages` that were not stored before, and the right to publish them.
async fn unknown(
    backend: &BackendName,
    messages: Vec<Inbound>,
    state: &IngressState,
) -> (Vec<Inbound>, Vec<PublishClaim>) {
    // A message without an external id has an id of its own: it cannot be a duplicate.
    let can_be_known = |message: &Inbound| message.external_id.is_some();
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

/// Which callbacks the message log is asked for, if the reports' address ends with `token`.
fn looked_up(token: Option<&str>, state: &IngressState) -> Callbacks {
    let can_be_wanted = token.is_none() && state.config.compat.call_back();
    if can_be_wanted { Callbacks::Wanted } else { Callbacks::NotWanted }
}

/// What is published of a report: itself, and the callback that its address, or else the message log, holds.
fn report(
    reported: &Reported,
    token: Option<&str>,
    state: &IngressState,
) -> impl Iterator<Item = (Address, Envelope)> {
    let backend = &reported.report.backend;
    let notice = notice(token, state, reported);
    let notice = notice.map(|notice| (Address::Callbacks(backend.clone()), Envelope::from(&notice)));
    std::iter::once((Address::Reports(backend.clone()), Envelope::from(&reported.report))).chain(notice)
}

/// What the message's client is to be told of a report, if `token`, with which the report's address ends, or
/// else the message log holds a callback.
fn notice(token: Option<&str>, state: &IngressState, reported: &Reported) -> Option<CallbackEvent> {
    let report = &reported.report;
    let token = token.or(reported.callback.as_deref())?;
    // Whoever publishes a message can put the token of another one into its row.
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
