//! `POST /v1/messages`: an application has a message to send.

use super::{Gateway, backends, submission};
use crate::{
    body,
    forms::{is_json, json_error},
    observe::Seen,
    problem::{Invalid, Problem},
    trace_context::{self, TraceContext},
};
use actix_web::{
    HttpMessage, HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{CONTENT_TYPE, HeaderMap},
    },
    web,
};
use jiff::Timestamp;
use postern_config::backend::{BackendConfig, text::Prepared};
use postern_service::metrics::Refused;
use postern_shared::message::MessageId;
use serde_json::{Value, json};

const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// The longest `Idempotency-Key`, in characters.
const MAX_IDEMPOTENCY_KEY: usize = 255;

/// The view.
pub(crate) async fn submit(
    request: HttpRequest,
    mut payload: web::Payload,
    gateway: web::Data<Gateway>,
) -> HttpResponse {
    let trace = trace_context::of(request.headers());
    let mut seen = Seen { trace: Some(trace.trace_id().to_owned()), ..Seen::default() };
    let response = match accept(&request, &mut payload, &gateway, &trace).await {
        Ok((id, answer)) => {
            seen.message = Some(id);
            HttpResponse::Accepted().json(answer)
        }
        Err(problem) => problem.response(),
    };
    seen.note(&request);
    response
}

/// The answer to any other method.
pub(crate) async fn only_post() -> HttpResponse {
    Problem::method("POST")
}

async fn accept(
    request: &HttpRequest,
    payload: &mut web::Payload,
    gateway: &Gateway,
    trace: &TraceContext,
) -> Result<(MessageId, Value), Problem> {
    let caller = backends::caller(request, gateway)?;
    let body = read_json(request, payload, gateway).await?;
    let now = Timestamp::now();
    let (named, submission) = submission::read(body, now);
    // Who may not use a backend does not learn what else is wrong.
    let backend = match &named {
        None => None,
        Some(name) if !caller.may_use(name) => {
            request.extensions_mut().insert(Refused::Backend);
            let wrong = Invalid::at("#/backend", format!("this key may not use the backend {name}"));
            return Err(Problem::of(StatusCode::FORBIDDEN, wrong));
        }
        Some(name) => Some(gateway.config.backends.get(name).ok_or_else(|| {
            let wrong = Invalid::at("#/backend", format!("there is no backend {name}"));
            Problem::of(StatusCode::NOT_FOUND, wrong)
        })?),
    };
    let key = idempotency_key(request.headers());
    let (backend, submission, key) = match (backend, submission, key) {
        (Some(backend), Ok(submission), Ok(key)) => (backend, submission, key),
        (_, submission, key) => {
            let wrong = [submission.err(), key.err().map(|wrong| vec![wrong])];
            return Err(Problem::invalid(wrong.into_iter().flatten().flatten().collect()));
        }
    };
    if !backend.definition.sends() {
        let why = format!("the backend {} only receives: its configuration has no send table", backend.name);
        return Err(Problem::invalid(vec![Invalid::at("#/backend", why)]));
    }
    let prepared = backend.definition.text.prepare(&submission.text, 0).map_err(|why| {
        let why = format!("too long for the backend {}: {why}", backend.name);
        Problem::invalid(vec![Invalid::at("#/text", why)])
    })?;
    let id = key.map_or_else(MessageId::new, |key| MessageId::outbound(caller.name(), &backend.name, key));
    let answer = answer(id, backend, submission.identities.len(), &prepared);
    let messages = submission.messages(id, backend, now, trace);
    match gateway.publisher.publish(messages).await {
        Ok(()) => Ok((id, answer)),
        Err(_) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not stored; try again later, with an Idempotency-Key so that a double can be told",
        )),
    }
}

/// What was accepted, and what it costs.
fn answer(id: MessageId, backend: &BackendConfig, identities: usize, text: &Prepared<'_>) -> Value {
    let mut answer = json!({"id": id, "backend": backend.name, "identities": identities});
    if let Some(cost) = text.cost(0, text.len()) {
        answer["segments"] = cost.segments.into();
        answer["encoding"] = json!(cost.alphabet);
    }
    if text.len() > 1 {
        answer["parts"] = text.len().into();
    }
    answer
}

async fn read_json(
    request: &HttpRequest,
    payload: &mut web::Payload,
    gateway: &Gateway,
) -> Result<Value, Problem> {
    let declared = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = declared.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !is_json(&essence.to_ascii_lowercase()) {
        let detail = "the body must be JSON: Content-Type: application/json";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let body = body::read(request, payload, &gateway.body).await;
    let body = body.map_err(|error| Problem::new(error.status(), error.detail(&gateway.body)))?;
    serde_json::from_slice(&body).map_err(|error| Problem::new(StatusCode::BAD_REQUEST, json_error(&error)))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Invalid> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY);
    let (Some(key), more) = (given.next(), given.next()) else { return Ok(None) };
    match key.to_str() {
        Ok(key)
            if more.is_none()
                && (1..=MAX_IDEMPOTENCY_KEY).contains(&key.len())
                && key.bytes().all(|byte| byte.is_ascii_graphic()) =>
        {
            Ok(Some(key))
        }
        _ => Err(Invalid::header(
            IDEMPOTENCY_KEY,
            format!("must be there once, 1 to {MAX_IDEMPOTENCY_KEY} visible ASCII characters"),
        )),
    }
}
