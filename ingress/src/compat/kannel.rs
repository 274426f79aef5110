//! Kannel's `GET` and `POST /cgi-bin/sendsms`, with Kannel 1.4.5's answers.
//!
//! | answer | when |
//! | --- | --- |
//! | 202 `0: Accepted for delivery` | it is stored |
//! | 202 `3: Queued for later delivery` | it is stored, and nobody serves the backend now, or the broker is away |
//! | 400 with Kannel's words | something in it is wrong: see `sendsms` |
//! | 403 `Authorization failed for sendsms` | no such user, a wrong password, another address than the user's |
//! | 403 `Not routable. Do not try again.` | `smsc` leads nowhere: see [`DoorUser::route`] |
//! | 503 `Temporal failure, try again later.` | it could not be stored |

use super::{
    super::{Gateway, submission::Submission},
    answer, queue,
    sendsms::{self, Said, Sendsms},
};
use crate::{
    body,
    forms::{Request, Unreadable},
    observe::Seen,
    trace_context::{self, TraceContext},
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::{Method, StatusCode, header},
    web,
};
use bytes::Bytes;
use encoding_rs::UTF_8;
use jiff::Timestamp;
use postern_shared::{
    backend::BackendConfig,
    broker::{Address, Envelope, header::TRACEPARENT},
    callback::{CONTEXT_KEY, Callback, Event},
    config::DoorUser,
    error::Failure,
    message::{
        BackendName, Identity, MAX_CONTEXT_BYTES, MessageId, Notice, Reason, Recipient, Report, State,
    },
};

/// An answer: its status and Kannel's words.
type Answer = (StatusCode, String);

/// The view.
pub(crate) async fn sendsms(
    request: HttpRequest,
    mut payload: web::Payload,
    gateway: web::Data<Gateway>,
) -> HttpResponse {
    let trace = trace_context::of(request.headers());
    let mut seen = Seen { trace: Some(trace.trace_id().to_owned()), door: Some("kannel"), ..Seen::default() };
    let answered = take(&request, &mut payload, &gateway, &trace, &mut seen).await;
    let (status, words) = answered.unwrap_or_else(|refused| refused);
    seen.note(&request);
    let mut answer = answer(status, "GET, POST");
    answer
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CACHE_CONTROL, "no-cache"));
    answer.body(words)
}

async fn take(
    request: &HttpRequest,
    payload: &mut web::Payload,
    gateway: &Gateway,
    trace: &TraceContext,
    seen: &mut Seen,
) -> Result<Answer, Answer> {
    let body = match *request.method() {
        Method::GET => Bytes::new(),
        Method::POST => body::read(request, payload, &gateway.body)
            .await
            .map_err(|error| (error.status(), error.detail(&gateway.body)))?,
        _ => return Err((StatusCode::METHOD_NOT_ALLOWED, "Method not allowed".to_owned())),
    };
    let parsed;
    let said = match own_content_type(request) {
        Some(octets) => Said::headers(request.headers(), &body, octets),
        None => {
            parsed = parameters(request, &body, gateway)?;
            Said::parameters(&parsed)
        }
    };
    let known =
        gateway.doors.kannel.known(request, &gateway.clients, said.bytes("username"), said.bytes("password"));
    let forbidden = |words: &str| (StatusCode::FORBIDDEN, words.to_owned());
    let user = *known.first().ok_or_else(|| forbidden("Authorization failed for sendsms"))?;
    let sms = sendsms::read(&said, &gateway.doors.reach, Timestamp::now());
    let sms = sms.map_err(|words| (StatusCode::BAD_REQUEST, words))?;
    let backend = route(gateway, user, sms.smsc.as_deref());
    let backend = backend.ok_or_else(|| forbidden("Not routable. Do not try again."))?;
    seen.backend = Some(backend.name.clone());
    let too_long = |_| (StatusCode::BAD_REQUEST, "Message too long, rejected".to_owned());
    backend.definition.text.prepare(&sms.text, 0).map_err(too_long)?;
    let id = MessageId::new();
    let refused = sms.refused.clone();
    let (submission, callback) = submission(gateway, user, id, sms)?;
    let also = left_out(&backend.name, id, refused, callback);
    let also =
        also.into_iter().map(|(address, envelope)| (address, envelope.with(TRACEPARENT, trace.as_str())));
    if !queue(gateway, id, backend, submission, also.collect(), trace).await {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "Temporal failure, try again later.".to_owned()));
    }
    seen.message = Some(id);
    let served = gateway.doors.served.is(gateway.publisher.broker(), &backend.name).await;
    let words = if served { "0: Accepted for delivery" } else { "3: Queued for later delivery" };
    Ok((StatusCode::ACCEPTED, words.to_owned()))
}

/// Whether the body of a POST is the text itself, and then whether it is declared as octets.
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
    gateway: &Gateway,
) -> Result<Request<'a>, Answer> {
    let (method, headers, query) = (request.method(), request.headers(), request.query_string());
    let invalid = || (StatusCode::BAD_REQUEST, "Invalid content-type".to_owned());
    match Request::parse(method, headers, query, body, UTF_8, &gateway.limits) {
        Ok(parsed) if parsed.json.is_none() => Ok(parsed),
        Ok(_) | Err(Unreadable::MediaType(_)) => Err(invalid()),
        Err(Unreadable::Malformed(errors)) => Err((StatusCode::BAD_REQUEST, errors.to_string())),
    }
}

/// The backend that a message goes to whose client names `smsc`.
fn route<'g>(gateway: &'g Gateway, user: &DoorUser, smsc: Option<&str>) -> Option<&'g BackendConfig> {
    gateway.config.backends.get(&user.route(smsc)?).filter(|backend| backend.definition.sends())
}

/// What the client wants told, and the token that it is sealed in.
type Wish = (Callback, String);

fn submission(
    gateway: &Gateway,
    user: &DoorUser,
    id: MessageId,
    sms: Sendsms,
) -> Result<(Submission, Option<Wish>), Answer> {
    let Sendsms { identities, text, mut context, priority, expires_at, callback, values, .. } = sms;
    let too_much = || (StatusCode::BAD_REQUEST, "Fields too long, rejected".to_owned());
    let mut wish = None;
    if let Some((url, mask)) = callback {
        let to = Some(&identities[..]).filter(|all| all.len() == 1).map(|all| all[0].clone());
        let callback = Callback { message_id: id, user: user.username.clone(), url, mask, to, values };
        let token = gateway.doors.keys.seal(&callback).ok_or_else(too_much)?;
        if gateway.doors.keys.open(&token).is_none() {
            return Err(too_much());
        }
        context.insert(CONTEXT_KEY.to_owned(), token.clone().into());
        wish = Some((callback, token));
    }
    if serde_json::to_vec(&context).map_or(usize::MAX, |json| json.len()) > MAX_CONTEXT_BYTES {
        return Err(too_much());
    }
    Ok((Submission { identities, text, context, priority, expires_at }, wish))
}

/// What is told of the recipients that are no numbers, and left out: a report that they failed, and
/// an event to the client who wants to know.
fn left_out(
    backend: &BackendName,
    id: MessageId,
    refused: Vec<Identity>,
    wish: Option<Wish>,
) -> Vec<(Address, Envelope)> {
    if refused.is_empty() {
        return Vec::new();
    }
    let now = Timestamp::now();
    let at = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
    let failure = Failure::permanent("invalid_number", "no number: digits, + and - are taken");
    let mut told = Vec::new();
    if let Some((_, token)) = wish.filter(|(callback, _)| callback.wants(Event::Refused)) {
        told.extend(refused.iter().map(|identity| {
            let notice = Notice {
                message_id: id,
                backend: backend.clone(),
                callback: token.clone(),
                event: Event::Refused.bit(),
                identity: Some(identity.clone()),
                external_id: None,
                reply: format!("NACK/{}", failure.code),
                at,
            };
            (Address::Callbacks(backend.clone()), Envelope::from(&notice))
        }));
    }
    let recipient = |identity| Recipient {
        identity: Some(identity),
        state: State::Failed,
        external_id: None,
        external_ids: Vec::new(),
        segments: None,
        reason: Some(Reason::from(&failure)),
    };
    let recipients = refused.into_iter().map(recipient).collect();
    let report = Report { message_id: id, backend: backend.clone(), attempt: 0, at, recipients };
    told.push((Address::Reports(backend.clone()), Envelope::from(&report)));
    told
}
