//! Accepting messages as Vumi (as RapidSMS's backend calls it) and Vumi Go's HTTP API do: PUT and POST with
//! Basic authentication.
//!
//! | answer | when |
//! | --- | --- |
//! | 200, the message as Vumi writes it, with its `message_id` | the broker has confirmed it, now or before under the client's own id |
//! | 400 `{"success": false, "reason"}` | the body is wrong |
//! | 401 | unknown user, wrong password, or not an address of the user's |
//! | 404 | the conversation is not the user's |
//! | 429 | the user exceeds its `rate` |
//! | 503 | the message could not be stored |

use super::{
    answer,
    vumi_message::{self, UserMessage, WrongMessage},
};
use crate::{
    accept::{
        Accepted, Fingerprint, KeyTaken, Rejected, Rejection, Submission, SubmissionClaim, SubmissionField,
    },
    answer::{Answer, Charge},
    auth::Principal,
    body::{self, Body, Reservation},
    refusal_reason::RefusalReason,
    state::IngressState,
    trace_context,
};
use actix_web::{
    HttpRequest, HttpResponse,
    dev::Payload,
    http::{
        Method, StatusCode,
        header::{self, HeaderValue},
    },
};
use base64::{Engine, prelude::BASE64_STANDARD};
use jiff::Timestamp;
use postern_config::CompatUser;
use postern_service::traces::RequestSpan;
use postern_shared::message::{MessageId, Priority};
use serde_json::{Map, Value, json};
use std::time::Instant;

/// The methods with which a client sends a message.
const METHODS: &str = "PUT, POST";

/// Accepts a message as Vumi and Vumi Go do.
pub(crate) async fn messages(request: &HttpRequest, payload: &mut Payload, state: &IngressState) -> Answer {
    answer::logged(take(request, payload, state).await, "vumi")
}

fn refuse(status: StatusCode, reason: &str) -> HttpResponse {
    let mut response = answer::response(status, METHODS);
    response.content_type("application/json; charset=utf-8");
    if status == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"postern\", charset=\"UTF-8\"");
        response.insert_header((header::WWW_AUTHENTICATE, challenge));
    }
    response.body(json!({"success": false, "reason": reason}).to_string())
}

async fn take(request: &HttpRequest, payload: &mut Payload, state: &IngressState) -> Answer {
    let began = state.traces.began();
    if !matches!(*request.method(), Method::PUT | Method::POST) {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed").into();
    }
    let known = match known(request, state) {
        Ok(known) => known,
        Err(why) => return Answer::refused(refuse(StatusCode::UNAUTHORIZED, "Unauthorized"), why),
    };
    let conversation = request.match_info().get("conversation");
    let own = |user: &&&CompatUser| user.conversation.as_deref().is_none_or(|own| Some(own) == conversation);
    let trace = trace_context::of(&state.traces, request, began);
    let mut answer: Answer = match known.iter().find(own) {
        None => refuse(StatusCode::NOT_FOUND, "Conversation not found").into(),
        Some(user) => match state.compat.vumi.count(user, Instant::now()) {
            Err(wait) => answer::too_many(
                refuse(StatusCode::TOO_MANY_REQUESTS, "Too many requests, try again later"),
                wait,
            ),
            Ok(()) => match message(request, payload, state).await {
                Ok((message, _reservation)) => submit(user, message, state, &trace).await,
                Err(refused) => refused,
            },
        },
    };
    answer.log.trace = Some(trace);
    answer.charged(Charge::Nothing)
}

/// The message in the body. The reservation is to be kept until the request is answered.
async fn message(
    request: &HttpRequest,
    payload: &mut Payload,
    state: &IngressState,
) -> Result<(UserMessage, Reservation), Answer> {
    let body = body::read(request, payload, &state.limits.body).await;
    let Body { bytes, reservation } = body.map_err(|error| {
        let response = refuse(error.status(), &error.detail(&state.limits.body));
        answer::refused(response, error.reason(), &[])
    })?;
    let message = vumi_message::read(&bytes).map_err(|WrongMessage { keys, words }| {
        let reason = if keys.is_empty() { RefusalReason::Json } else { RefusalReason::Form };
        answer::refused(refuse(StatusCode::BAD_REQUEST, &words), Some(reason), &keys)
    })?;
    Ok((message, reservation))
}

/// Accepts the message of `user`.
async fn submit(
    user: &CompatUser,
    message: UserMessage,
    state: &IngressState,
    trace: &RequestSpan,
) -> Answer {
    let UserMessage { identities, text, context, given } = message;
    let principal = Principal::CompatUser(user);
    let claim = match claim(user, &given, state).await {
        Ok(claim) => claim,
        Err(first) => {
            state.metrics.duplicate(&first.backend);
            return accepted(&first, &given);
        }
    };
    let submission = Submission {
        destination: None,
        identities,
        left_out: Vec::new(),
        text,
        context,
        priority: Priority::Normal,
        expires_at: None,
        claim,
        callback: None,
    };
    match state.acceptor.accept(principal, submission, trace).await {
        Ok(new) => accepted(&new, &given),
        Err(Rejected { backend, reason }) => {
            answer::refused(rejection(&reason), None, rejected_key(&reason)).about(None, backend)
        }
    }
}

/// Claims the message id that is made from the client's own id; `None` if the client gives none.
///
/// A request that differs from an earlier one under the same id, or goes to another backend, is another message:
/// RapidSMS sends one message to more than 200 people in several requests under one id.
///
/// # Errors
/// The result of the same message, which was accepted before.
async fn claim(
    user: &CompatUser,
    given: &Map<String, Value>,
    state: &IngressState,
) -> Result<Option<SubmissionClaim>, Accepted> {
    let Some(id) = vumi_message::own_id(given) else { return Ok(None) };
    let fingerprint = Fingerprint::of(Value::Object(given.clone()));
    // With blanks in it, the key cannot equal any Idempotency-Key.
    let key = format!("vumi {} {id} {fingerprint}", user.backend);
    match state.acceptor.claim(Principal::CompatUser(user), &key, fingerprint).await {
        Ok(claim) => Ok(Some(claim)),
        Err(KeyTaken::Repeated(first)) => Err(*first),
        // This cannot happen: the fingerprint is part of the key.
        Err(KeyTaken::Another) => Ok(None),
    }
}

/// The answer to an accepted message.
fn accepted(accepted: &Accepted, given: &Map<String, Value>) -> Answer {
    let Accepted { id, backend, at, .. } = accepted;
    let body = written(*id, backend.as_str(), given, *at).to_string();
    let response = HttpResponse::Ok().content_type("application/json; charset=utf-8").body(body);
    Answer::from(response).about(*id, backend.clone())
}

/// The key that a rejection is about, if it is about one.
fn rejected_key(reason: &Rejection) -> &'static [&'static str] {
    match reason.field() {
        Some(SubmissionField::Recipients) => &["to_addr"],
        Some(SubmissionField::Text) => &["content"],
        Some(SubmissionField::Context) => &["metadata"],
        Some(SubmissionField::Destination) | None => &[],
    }
}

/// Vumi's words for a rejection. If a user's backend cannot be used, that is the configuration's mistake, not
/// the client's.
fn rejection(reason: &Rejection) -> HttpResponse {
    match reason {
        Rejection::TextTooLong { why, .. } => {
            refuse(StatusCode::BAD_REQUEST, &format!("content is too long: {why}"))
        }
        Rejection::TooLarge => refuse(StatusCode::BAD_REQUEST, "content is too long"),
        Rejection::NotRecipients(_) => {
            refuse(StatusCode::BAD_REQUEST, "Invalid or missing value for payload key 'to_addr'")
        }
        Rejection::TooMuchToStore(_) => refuse(StatusCode::BAD_REQUEST, &reason.to_string()),
        Rejection::Media { .. } | Rejection::ContextTooLarge => {
            refuse(StatusCode::BAD_REQUEST, "Invalid or missing value for payload key 'metadata'")
        }
        Rejection::Forbidden(_)
        | Rejection::UnknownBackend(_)
        | Rejection::NotRoutable
        | Rejection::ReceivesOnly(_)
        | Rejection::Unavailable => {
            refuse(StatusCode::SERVICE_UNAVAILABLE, "The broker did not confirm the message, try again later")
        }
    }
}

/// The users whose name and password are in the `Authorization` header.
fn known<'s>(request: &HttpRequest, state: &'s IngressState) -> Result<Vec<&'s CompatUser>, RefusalReason> {
    let header = request.headers().get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    let (scheme, given) =
        header.and_then(|header| header.split_at_checked(6)).ok_or(RefusalReason::Password)?;
    let decoded = BASE64_STANDARD.decode(given.trim_ascii()).unwrap_or_default();
    let colon = decoded.iter().position(|byte| *byte == b':').ok_or(RefusalReason::Password)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return Err(RefusalReason::Password);
    }
    state.compat.vumi.known(state.limits.client(request), &decoded[..colon], &decoded[colon + 1..])
}

/// The message as Vumi writes a user message that it has accepted.
fn written(id: MessageId, backend: &str, given: &Map<String, Value>, now: Timestamp) -> Value {
    let or_null = |key: &str| given.get(key).cloned().unwrap_or(Value::Null);
    let or_empty = |key: &str| given.get(key).filter(|value| value.is_object()).cloned().unwrap_or(json!({}));
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
