//! The wrapper around every handler but that of GET and HEAD `/health`: it limits a request by its address's
//! rate, lets the handler answer, counts the answer and logs it in one line, and charges the address. The
//! line never contains the request's query, its body or an identity. Only a few lines a second are written
//! about requests that store nothing.

use crate::{
    answer::{Answer, Charge, RequestLog, too_many},
    body::HeldBody,
    metrics::method_label,
    problem::ProblemDocument,
    refusal_reason::RefusalReason,
    state::IngressState,
};
use actix_web::{
    HttpRequest, HttpResponse, Route,
    dev::Payload,
    web::{self, Data},
};
use postern_service::current::Current;
use postern_shared::message::BackendName;
use std::time::{Duration, Instant};

/// A route on which `handler` answers.
pub(crate) fn answering<H>(handler: H) -> Route
where
    H: AsyncFn(&HttpRequest, &mut Payload, &IngressState) -> Answer + Copy + 'static,
{
    web::to(
        move |request: HttpRequest, payload: web::Payload, current: Data<Current<IngressState>>| async move {
            // The request keeps the state with which it began, even if a reload replaces it.
            let state = current.get();
            respond(handler, &request, payload.into_inner(), &state).await
        },
    )
}

async fn respond<H>(handler: H, request: &HttpRequest, payload: Payload, state: &IngressState) -> HttpResponse
where
    H: AsyncFn(&HttpRequest, &mut Payload, &IngressState) -> Answer,
{
    let start = Instant::now();
    let (mut payload, held) = HeldBody::hold(request, payload);
    let mut answer = within_rate(handler, request, &mut payload, state).await;
    record(request, state, &answer, start.elapsed());
    if let Some(trace) = &mut answer.log.trace {
        let status = answer.response.status().as_u16();
        trace.note_answer(status, answer.log.backend.as_ref(), answer.log.message);
    }
    match held {
        Some(held) => held.until_answered(answer.response),
        None => answer.response,
    }
}

/// Lets `handler` answer within the address's rate. Whether a request counts is known only once it is
/// answered: it does not if it proved whose it is. If the rate is used up by then, a request that counts is
/// refused in spite of its answer, so that concurrent requests are limited, too.
async fn within_rate<H>(
    handler: H,
    request: &HttpRequest,
    payload: &mut Payload,
    state: &IngressState,
) -> Answer
where
    H: AsyncFn(&HttpRequest, &mut Payload, &IngressState) -> Answer,
{
    let Some(account) = state.limits.account(request) else {
        return handler(request, payload, state).await;
    };
    if let Err(wait) = account.open() {
        return over_rate(request, wait);
    }
    let answer = handler(request, payload, state).await;
    if answer.charge == Charge::Nothing {
        return answer;
    }
    match account.take() {
        Ok(()) => answer,
        Err(wait) => Answer {
            log: RequestLog { refused: Some(RefusalReason::Rate), ..answer.log },
            ..over_rate(request, wait)
        },
    }
}

/// The answer to a request whose address exceeds its rate and has to `wait`.
fn over_rate(request: &HttpRequest, wait: Duration) -> Answer {
    if request.path().starts_with("/v1/") {
        ProblemDocument::too_many(wait).into()
    } else {
        Answer::refused(too_many(wait), RefusalReason::Rate)
    }
}

/// Counts the request and writes its log line.
fn record(request: &HttpRequest, state: &IngressState, answer: &Answer, duration: Duration) {
    let Answer { response, log, .. } = answer;
    let (method, status) = (method_label(request.method()), response.status().as_u16());
    // The client's address is logged only for a refused request: an operator may want to block it.
    let mut client = None;
    let refused = log.refused.or_else(|| RefusalReason::of_status(response.status()));
    if let Some(why) = refused {
        state.metrics.refused(log.backend.as_ref(), why);
        client = state.limits.client(request);
    }
    let compat = log.compat.unwrap_or_default();
    let busy = duration.saturating_sub(log.waited);
    state.metrics.request(log.backend.as_ref(), compat, (method, status), busy.as_secs_f64());
    if !is_always_logged(answer) && !state.request_lines.admits(status) {
        return;
    }
    tracing::info!(
        target: "postern_ingress::access",
        backend = log.backend.as_ref().map(BackendName::as_str),
        compat = log.compat,
        method,
        status,
        refused = refused.map(RefusalReason::as_str),
        fields = log.fields.as_deref(),
        checks = log.checks.as_deref(),
        client = client.map(tracing::field::display),
        duration_ms = duration.as_micros() as f64 / 1000.0,
        message_id = log.message.map(tracing::field::display),
        items = log.items.filter(|items| *items != 1),
        replaced = Some(log.replaced).filter(|replaced| *replaced > 0),
        invalid = Some(log.invalid).filter(|invalid| *invalid > 0),
        trace_id = log.trace.as_ref().map(|trace| trace.context().trace_id()),
        "request"
    );
}

/// Whether the log line of a request is always written: a message or a report was stored, now or before. Any
/// other request costs its sender less than its line costs the log.
fn is_always_logged(answer: &Answer) -> bool {
    let Answer { response, log, .. } = answer;
    response.status().is_success() && log.items != Some(0) && (log.message.is_some() || log.backend.is_some())
}
