//! `/backends/<name>`: a provider brings a message.

use crate::{
    answer::{Answer, Charge, text, unavailable},
    dedup::Claim,
    provider::Receiver,
    state::IngressState,
    trace_context::TraceContext,
};
use actix_web::{HttpRequest, HttpResponse, dev::Payload, http::StatusCode};
use postern_broker::{Address, Envelope, header::TRACEPARENT};
use postern_shared::message::Inbound;

/// Stores the message that a provider's request is.
pub(crate) async fn receive(request: &HttpRequest, payload: &mut Payload, state: &IngressState) -> Answer {
    let Some(receiver) = request.match_info().get("name").and_then(|name| state.receivers.get(name)) else {
        return text(StatusCode::NOT_FOUND, "unknown backend").into();
    };
    if !receiver.endpoint.has_path(request) {
        return text(StatusCode::NOT_FOUND, "not found").into();
    }
    let mut trace = TraceContext::begin();
    let mut answer = match receiver.take(request, payload, &state.limits).await {
        Ok(message) => {
            trace = receiver.endpoint.trace(request);
            let stored = store(receiver, &message, &trace, state).await;
            let mut answer = Answer::from(stored).charged(Charge::Nothing);
            answer.log.message = Some(message.id);
            answer
        }
        Err(refusal) => refusal.answer(&state.limits.body),
    };
    answer.log.backend = Some(receiver.endpoint.name.clone());
    answer.log.trace = Some(trace);
    answer
}

/// The response once the broker has confirmed this message, or another with the same id, and no
/// sooner.
async fn store(
    receiver: &Receiver,
    message: &Inbound,
    trace: &TraceContext,
    state: &IngressState,
) -> HttpResponse {
    // A message without an external id has an id of its own: it cannot be a duplicate.
    let claimed = match &message.external_id {
        Some(_) => match state.dedup.claim(message.id).await {
            Claim::New(claimed) => Some(claimed),
            Claim::Duplicate(()) => {
                state.metrics.duplicate(&receiver.endpoint.name);
                return receiver.endpoint.reply();
            }
        },
        None => None,
    };
    let envelope = Envelope::from(message).with(TRACEPARENT, trace.as_str());
    let published =
        state.publisher.publish(vec![(Address::Inbound(receiver.endpoint.name.clone()), envelope)]);
    match published.await {
        Ok(()) => {
            if let Some(claimed) = claimed {
                claimed.stored(());
            }
            receiver.endpoint.reply()
        }
        Err(_) => unavailable(),
    }
}
