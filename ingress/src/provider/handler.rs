//! The endpoints for a provider's messages, `/backends/{name}`, and for its delivery reports,
//! `/backends/{name}/status`, where the URL may end with `/{callback}`. If the provider's token is in the
//! path, it is `/backends/{name}/{token}` in both.
//!
//! The handler finds the backend, lets its [`ProviderEndpoints`](super::ProviderEndpoints) read the request (`take`), asks the
//! message log for what the reports do not say (`report_lookup`), stores all of it in one publish (`store`),
//! and answers 2xx once the broker has confirmed it.

use super::{
    report_lookup::{self, Callbacks},
    store::{NotStored, store},
    take::{ProviderPath, Taken},
};
use crate::{
    answer::{Answer, Charge, text, unavailable},
    state::IngressState,
    trace_context,
};
use actix_web::{
    HttpRequest, HttpResponse,
    dev::Payload,
    http::{StatusCode, header},
};
use postern_service::traces::RequestSpan;
use postern_shared::trace_context::from_path;

/// Stores what a request to the endpoint for messages brings.
pub(crate) async fn messages(request: &HttpRequest, payload: &mut Payload, state: &IngressState) -> Answer {
    answer(ProviderPath::Messages, request, payload, state).await
}

/// Stores what a request to the endpoint for delivery reports brings.
pub(crate) async fn reports(request: &HttpRequest, payload: &mut Payload, state: &IngressState) -> Answer {
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
            // A report's URL may also contain the callback that a client asked for, and the trace in which
            // the message was sent.
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

/// The answer to a handshake. The body is `reply` unchanged, and is never rendered as a page, since anybody
/// may have written it.
fn handshake(reply: String) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(reply)
}

/// Which callbacks to look up in the message log, if the reports' URL ends with `token`.
fn looked_up(token: Option<&str>, state: &IngressState) -> Callbacks {
    let can_be_wanted = token.is_none() && state.config.compat.call_back();
    if can_be_wanted { Callbacks::Wanted } else { Callbacks::NotWanted }
}
