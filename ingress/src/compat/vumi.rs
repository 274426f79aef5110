//! Where Vumi (as RapidSMS's backend speaks to it) and Vumi Go's HTTP API take messages: PUT and
//! POST with Basic auth.
//!
//! | answer | when |
//! | --- | --- |
//! | 200, the message as Vumi writes it, with its `message_id` | the broker has confirmed it |
//! | 400 `{"success": false, "reason"}` | something in it is wrong |
//! | 401 | no such user, a wrong password, another address than the user's |
//! | 404 | the conversation is not the user's |
//! | 503 | it could not be stored |

use super::{
    super::{Gateway, submission::Submission},
    answer, queue,
    users::refused,
    vumi_message::{self, UserMessage},
};
use crate::{
    body,
    observe::Seen,
    trace_context::{self, TraceContext},
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method, StatusCode,
        header::{self, HeaderValue},
    },
    web,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use postern_shared::{
    config::DoorUser,
    message::{Lane, MessageId},
    metrics::Refused,
};
use serde_json::{Map, Value, json};

/// A refusal: its status and why.
type Refusal = (StatusCode, String);

/// The view.
pub(crate) async fn messages(
    request: HttpRequest,
    mut payload: web::Payload,
    gateway: web::Data<Gateway>,
) -> HttpResponse {
    let trace = trace_context::of(request.headers());
    let mut seen = Seen { trace: Some(trace.trace_id().to_owned()), door: Some("vumi"), ..Seen::default() };
    let answer = match take(&request, &mut payload, &gateway, &trace, &mut seen).await {
        Ok(message) => {
            HttpResponse::Ok().content_type("application/json; charset=utf-8").body(message.to_string())
        }
        Err(refusal) => refuse(refusal),
    };
    seen.note(&request);
    answer
}

fn refuse((status, reason): Refusal) -> HttpResponse {
    let mut answer = answer(status, "PUT, POST");
    answer.content_type("application/json; charset=utf-8");
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"postern\", charset=\"UTF-8\"");
        answer.insert_header((header::WWW_AUTHENTICATE, challenge));
    }
    answer.body(json!({"success": false, "reason": reason}).to_string())
}

async fn take(
    request: &HttpRequest,
    payload: &mut web::Payload,
    gateway: &Gateway,
    trace: &TraceContext,
    seen: &mut Seen,
) -> Result<Value, Refusal> {
    if !matches!(*request.method(), Method::PUT | Method::POST) {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "Method not allowed".to_owned()));
    }
    let known = known(request, gateway);
    if known.is_empty() {
        return Err((StatusCode::UNAUTHORIZED, "Unauthorized".to_owned()));
    }
    let conversation = request.match_info().get("conversation");
    let own = |user: &&&DoorUser| user.conversation.as_deref().is_none_or(|own| Some(own) == conversation);
    let user = known.iter().find(own).copied();
    let user = user.ok_or_else(|| (StatusCode::NOT_FOUND, "Conversation not found".to_owned()))?;
    let body = body::read(request, payload, &gateway.body).await;
    let body = body.map_err(|error| (error.status(), error.detail(&gateway.body)))?;
    let message = vumi_message::read(&body).map_err(|reason| (StatusCode::BAD_REQUEST, reason))?;
    let unavailable = || (StatusCode::SERVICE_UNAVAILABLE, "Not stored, try again later".to_owned());
    let backend = gateway.config.backends.get(&user.backend).ok_or_else(unavailable)?;
    seen.backend = Some(backend.name.clone());
    let (id, now) = (MessageId::new(), Timestamp::now());
    let UserMessage { identities, text, context, said } = message;
    let too_long = |why| (StatusCode::BAD_REQUEST, format!("content is too long: {why}"));
    backend.definition.text.prepare(&text, 0).map_err(too_long)?;
    let submission = Submission { identities, text, context, priority: Lane::Normal, expires_at: None };
    if !queue(gateway, id, backend, submission, Vec::new(), trace).await {
        return Err(unavailable());
    }
    seen.message = Some(id);
    Ok(written(id, backend.name.as_str(), &said, now))
}

/// Those whose name and password the `Authorization` header holds.
fn known<'g>(request: &HttpRequest, gateway: &'g Gateway) -> Vec<&'g DoorUser> {
    let header = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let Some((scheme, given)) = header.and_then(|header| header.split_at_checked(6)) else {
        refused(request, Refused::Password);
        return Vec::new();
    };
    let decoded = BASE64_STANDARD.decode(given.trim_ascii()).unwrap_or_default();
    let colon = decoded.iter().position(|byte| *byte == b':');
    match colon {
        Some(colon) if scheme.eq_ignore_ascii_case(b"basic ") => {
            gateway.doors.vumi.known(request, &gateway.clients, &decoded[..colon], &decoded[colon + 1..])
        }
        _ => {
            refused(request, Refused::Password);
            Vec::new()
        }
    }
}

/// The message as Vumi writes a user message that it has taken.
fn written(id: MessageId, backend: &str, said: &Map<String, Value>, now: Timestamp) -> Value {
    let or_null = |key: &str| said.get(key).cloned().unwrap_or(Value::Null);
    let or_empty = |key: &str| said.get(key).filter(|value| value.is_object()).cloned().unwrap_or(json!({}));
    json!({
        "message_type": "user_message",
        "message_version": "20110921",
        "message_id": id,
        "timestamp": now.strftime("%Y-%m-%d %H:%M:%S.%6f").to_string(),
        "to_addr": or_null("to_addr"),
        "from_addr": or_null("from_addr"),
        "content": or_null("content"),
        "in_reply_to": or_null("in_reply_to"),
        "session_event": or_null("session_event"),
        "group": or_null("group"),
        "transport_name": backend,
        "transport_type": Value::Null,
        "transport_metadata": {},
        "helper_metadata": or_empty("helper_metadata"),
    })
}
