//! Kannel's `GET` and `POST /cgi-bin/sendsms`, with Kannel 1.4.5's answers.
//!
//! | answer | when |
//! | --- | --- |
//! | 202 `0: Accepted for delivery` | the message is stored |
//! | 202 `3: Queued for later delivery` | stored, but the backend is not served, or the broker is unavailable |
//! | 400 with Kannel's words | a parameter is wrong: see `sendsms` |
//! | 403 `Authorization failed for sendsms` | unknown user, wrong password, or not an address of the user's |
//! | 403 `Not routable. Do not try again.` | `smsc` leads nowhere: see [`CompatUser::route`] |
//! | 429 `Too many requests, try again later.` | the user exceeds its `rate` |
//! | 503 `Temporal failure, try again later.` | the message could not be stored |

use super::{
    answer,
    sendsms::{self, Sendsms, SendsmsParameters, WrongSendsms},
};
use crate::{
    accept::{Accepted, Rejected, Rejection, Submission},
    answer::{Answer, Charge, too_many},
    auth::Principal,
    body::{self, Body},
    forms::{RawRequest, Request, Unreadable},
    limits::RequestLimits,
    refusal_reason::RefusalReason,
    state::IngressState,
    trace_context,
};
use actix_web::{
    HttpRequest, HttpResponse,
    dev::Payload,
    http::{Method, StatusCode, header},
};
use bytes::Bytes;
use indexmap::IndexSet;
use jiff::Timestamp;
use postern_config::{CompatUser, backend::BackendConfig};
use postern_service::traces::RequestSpan;
use postern_shared::message::Identity;
use std::time::Instant;

/// A status, and Kannel's words.
type KannelReply = (StatusCode, String);

/// An answer that refuses a request.
#[derive(Debug)]
struct KannelRefusal {
    reply: KannelReply,
    /// `None`: the status says enough.
    reason: Option<RefusalReason>,
    /// The parameter that is wrong.
    field: Option<&'static str>,
}

impl KannelRefusal {
    /// A refusal that names no parameter.
    fn new(status: StatusCode, words: &str, reason: Option<RefusalReason>) -> Self {
        Self { reply: (status, words.to_owned()), reason, field: None }
    }

    /// A refusal because of the parameter `field`.
    fn of(field: &'static str, status: StatusCode, words: &str) -> Self {
        Self { field: Some(field), ..Self::new(status, words, None) }
    }
}

impl From<KannelRefusal> for Answer {
    fn from(refusal: KannelRefusal) -> Self {
        answer::refused(respond(refusal.reply), refusal.reason, refusal.field.as_slice())
    }
}

/// Accepts a message as Kannel's sendsms does.
pub(crate) async fn sendsms(request: &HttpRequest, payload: &mut Payload, state: &IngressState) -> Answer {
    answer::logged(take(request, payload, state).await, "kannel")
}

fn respond((status, words): KannelReply) -> HttpResponse {
    let mut response = answer::response(status, "GET, POST");
    response
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CACHE_CONTROL, "no-cache"));
    response.body(words)
}

async fn take(request: &HttpRequest, payload: &mut Payload, state: &IngressState) -> Answer {
    let began = state.traces.began();
    let body = match body(request, payload, &state.limits).await {
        Ok(body) => body,
        Err(refusal) => return refusal.into(),
    };
    let parsed;
    let given = match own_content_type(request) {
        Some(octets) => SendsmsParameters::headers(request.headers(), &body.bytes, octets),
        None => match parameters(request, &body.bytes, &state.limits) {
            Ok(parameters) => {
                parsed = parameters;
                SendsmsParameters::parameters(&parsed)
            }
            Err(refusal) => return refusal.into(),
        },
    };
    if let Err(wait) = state.limits.may_prove(request) {
        return Answer::refused(too_many(wait), RefusalReason::Rate).charged(Charge::Nothing);
    }
    match user(&given, request, state) {
        Ok(user) => {
            let trace = trace_context::of(&state.traces, request, began);
            let mut answer = within_rate(user, &given, state, &trace).await.charged(Charge::Nothing);
            answer.log.trace = Some(trace);
            answer
        }
        Err(why) => {
            let words = "Authorization failed for sendsms".to_owned();
            Answer::refused(respond((StatusCode::FORBIDDEN, words)), why)
        }
    }
}

/// The user whose name and password the request gives.
fn user<'s>(
    given: &SendsmsParameters<'_>,
    request: &HttpRequest,
    state: &'s IngressState,
) -> Result<&'s CompatUser, RefusalReason> {
    let client = state.limits.client(request);
    let known = state.compat.kannel.known(client, given.bytes("username"), given.bytes("password"))?;
    known.first().copied().ok_or(RefusalReason::Password)
}

/// Accepts the message of `user`, if the user is within its rate.
async fn within_rate(
    user: &CompatUser,
    given: &SendsmsParameters<'_>,
    state: &IngressState,
    trace: &RequestSpan,
) -> Answer {
    match state.compat.kannel.count(user, Instant::now()) {
        Ok(()) => submit(user, given, state, trace).await,
        Err(wait) => {
            let words = "Too many requests, try again later.".to_owned();
            answer::too_many(respond((StatusCode::TOO_MANY_REQUESTS, words)), wait)
        }
    }
}

/// Accepts the message of `user`.
async fn submit(
    user: &CompatUser,
    given: &SendsmsParameters<'_>,
    state: &IngressState,
    trace: &RequestSpan,
) -> Answer {
    let sms = match sendsms::read(given, &state.compat.reach, Timestamp::now()) {
        Ok(sms) => sms,
        Err(WrongSendsms { field, words }) => {
            let reason = (field == sendsms::CHARSET).then_some(RefusalReason::Charset);
            return KannelRefusal { reason, ..KannelRefusal::of(field, StatusCode::BAD_REQUEST, &words) }
                .into();
        }
    };
    let principal = Principal::CompatUser(user);
    let mut submission = submission(sms);
    if let Ok(backend) = state.acceptor.route(principal, submission.destination.as_deref()) {
        submission.identities = each_once(submission.identities, backend);
    }
    match state.acceptor.accept(principal, submission, trace).await {
        Ok(Accepted { id, backend, .. }) => {
            let served = state.compat.consumers.has_consumer(state.publisher.broker(), &backend).await;
            let words = if served { "0: Accepted for delivery" } else { "3: Queued for later delivery" };
            Answer::from(respond((StatusCode::ACCEPTED, words.to_owned()))).about(id, backend)
        }
        Err(Rejected { backend, reason }) => Answer::from(rejection(&reason)).about(None, backend),
    }
}

/// Kannel's words for a rejection.
fn rejection(reason: &Rejection) -> KannelRefusal {
    match reason {
        Rejection::Forbidden(_)
        | Rejection::UnknownBackend(_)
        | Rejection::NotRoutable
        | Rejection::ReceivesOnly(_) => {
            let refusal = KannelRefusal::of("smsc", StatusCode::FORBIDDEN, "Not routable. Do not try again.");
            KannelRefusal { reason: Some(RefusalReason::Backend), ..refusal }
        }
        Rejection::NotRecipients(_) => KannelRefusal::of("to", StatusCode::BAD_REQUEST, sendsms::DENIED),
        Rejection::TooMuchToStore(_) => {
            KannelRefusal::of("to", StatusCode::BAD_REQUEST, "Too many receivers for this text, rejected")
        }
        Rejection::TextTooLong { .. } | Rejection::TooLarge => {
            KannelRefusal::of("text", StatusCode::BAD_REQUEST, "Message too long, rejected")
        }
        Rejection::Media { .. } | Rejection::ContextTooLarge => KannelRefusal::new(
            StatusCode::BAD_REQUEST,
            "Fields too long, rejected",
            Some(RefusalReason::Size),
        ),
        Rejection::Unavailable => {
            KannelRefusal::new(StatusCode::SERVICE_UNAVAILABLE, "Temporal failure, try again later.", None)
        }
    }
}

/// The identities that `written` stands for. A number that is written in two ways is one person, who must not
/// get the message twice.
fn each_once(written: Vec<Identity>, backend: &BackendConfig) -> Vec<Identity> {
    let identities = written.into_iter().map(|written| backend.definition.identity(written));
    identities.collect::<IndexSet<_>>().into_iter().collect()
}

fn submission(sms: Sendsms) -> Submission {
    let Sendsms { identities, left_out, text, context, priority, expires_at, destination, callback } = sms;
    Submission {
        destination,
        identities,
        left_out,
        text,
        context,
        priority,
        expires_at,
        claim: None,
        callback,
    }
}

async fn body(
    request: &HttpRequest,
    payload: &mut Payload,
    limits: &RequestLimits,
) -> Result<Body, KannelRefusal> {
    match *request.method() {
        Method::GET => Ok(Body::default()),
        Method::POST => {
            let body = body::read(request, payload, &limits.body).await;
            body.map_err(|error| {
                KannelRefusal::new(error.status(), &error.detail(&limits.body), error.reason())
            })
        }
        _ => Err(KannelRefusal::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", None)),
    }
}

/// `Some` if the body of a POST is the text itself, with whether it is declared as octets.
fn own_content_type(request: &HttpRequest) -> Option<bool> {
    if request.method() != Method::POST {
        return None;
    }
    let declared = request.headers().get(header::CONTENT_TYPE)?.to_str().ok()?;
    match declared.split(';').next()?.trim().to_ascii_lowercase().as_str() {
        "text/plain" => Some(false),
        "application/octet-stream" => Some(true),
        _ => None,
    }
}

fn parameters<'a>(
    request: &'a HttpRequest,
    body: &'a Bytes,
    limits: &RequestLimits,
) -> Result<Request<'a>, KannelRefusal> {
    let refusal = |words: &str, reason| KannelRefusal::new(StatusCode::BAD_REQUEST, words, Some(reason));
    match Request::parse(RawRequest::of(request, body), None, None, &limits.parameters) {
        Ok(parsed) if parsed.json.is_none() => Ok(parsed),
        Ok(_) | Err(Unreadable::MediaType(_)) => {
            Err(refusal("Invalid content-type", RefusalReason::MediaType))
        }
        Err(Unreadable::Malformed(errors)) => Err(refusal(&errors.to_string(), errors.reason())),
    }
}
