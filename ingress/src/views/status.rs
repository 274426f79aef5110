//! `/backends/<name>/status`: a provider says what became of a message.

use crate::{
    answer::{Answer, Charge, text, unavailable},
    provider::{Reported, Reporter},
    state::IngressState,
    trace_context::TraceContext,
};
use actix_web::{HttpRequest, HttpResponse, dev::Payload, http::StatusCode};
use postern_broker::{Address, Envelope, header::TRACEPARENT};
use postern_shared::{callback::KannelEvent, message::CallbackEvent};

/// Publishes the delivery report that a provider's request is, and the callback that its address
/// carries.
pub(crate) async fn status(request: &HttpRequest, payload: &mut Payload, state: &IngressState) -> Answer {
    let name = request.match_info().get("name").unwrap_or_default();
    let Some(reporter) = state.reporters.get(name) else {
        let known = state.receivers.contains_key(name);
        let why = if known { "this backend has no delivery reports" } else { "unknown backend" };
        return text(StatusCode::NOT_FOUND, why).into();
    };
    if !reporter.endpoint.has_path(request) {
        return text(StatusCode::NOT_FOUND, "not found").into();
    }
    let mut trace = TraceContext::begin();
    let mut answer = match reporter.take(request, payload, &state.limits).await {
        Ok(reported) => {
            trace = reporter.endpoint.trace(request);
            let message = reported.report.message_id;
            let stored = store(reporter, messages(request, &reported, &trace, state), state).await;
            let mut answer = Answer::from(stored).charged(Charge::Nothing);
            answer.log.message = Some(message);
            answer
        }
        Err(refusal) => refusal.answer(&state.limits.body),
    };
    answer.log.backend = Some(reporter.endpoint.name.clone());
    answer.log.trace = Some(trace);
    answer
}

/// The response once the broker has confirmed `messages`, all of them.
async fn store(
    reporter: &Reporter,
    messages: Vec<(Address, Envelope)>,
    state: &IngressState,
) -> HttpResponse {
    match state.publisher.publish(messages).await {
        Ok(()) => reporter.endpoint.reply(),
        Err(_) => unavailable(),
    }
}

/// What is published of a report: itself, and the callback that its address asks for.
fn messages(
    request: &HttpRequest,
    reported: &Reported,
    trace: &TraceContext,
    state: &IngressState,
) -> Vec<(Address, Envelope)> {
    let backend = &reported.report.backend;
    let mut messages = vec![(Address::Reports(backend.clone()), Envelope::from(&reported.report))];
    if let Some(notice) = notice(request.match_info().get("callback"), state, reported) {
        messages.push((Address::Callbacks(backend.clone()), Envelope::from(&notice)));
    }
    let traced = |(address, envelope): (_, Envelope)| (address, envelope.with(TRACEPARENT, trace.as_str()));
    messages.into_iter().map(traced).collect()
}

/// What the message's client is to be told of a report, if `token`, which the report's address ends
/// with, holds a callback.
fn notice(token: Option<&str>, state: &IngressState, reported: &Reported) -> Option<CallbackEvent> {
    let (token, report) = (token?, &reported.report);
    let Some(callback) = state.callback_keys.open(token) else {
        if state.report_lines.admits(StatusCode::OK.as_u16()) {
            tracing::warn!(
                message_id = %report.message_id,
                "the report's address carries a callback that was not requested by a currently configured user: not called"
            );
        }
        return None;
    };
    let recipient = report.recipients.first()?;
    let event = KannelEvent::of_report(recipient.state).filter(|event| callback.wants(*event))?;
    Some(CallbackEvent {
        message_id: callback.message_id,
        backend: report.backend.clone(),
        callback: token.to_owned(),
        event: event.bit(),
        identity: recipient.identity.clone(),
        external_id: recipient.external_id.clone(),
        reply: reported.provider_word.clone(),
        at: report.at,
    })
}
