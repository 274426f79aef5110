//! `POST /v1/messages`: an application's message to send.

use super::{
    authenticate::authenticated,
    submission::{self, RecipientsKey},
};
use crate::{
    accept::{
        Accepted, Acceptor, Fingerprint, KeyTaken, MESSAGE_LIMITS, Rejection, Submission, SubmissionField,
    },
    answer::Answer,
    auth::Principal,
    body::{self, Body, Reservation},
    forms::{is_json, json_error},
    limits::RequestLimits,
    problem::{Invalid, ProblemDocument},
    refusal_reason::RefusalReason,
    state::IngressState,
    trace_context,
};
use actix_web::{
    HttpRequest, HttpResponse,
    dev::Payload,
    http::{
        StatusCode,
        header::{CONTENT_TYPE, HeaderMap},
    },
};
use jiff::Timestamp;
use postern_config::Right;
use postern_service::traces::RequestSpan;
use postern_shared::read::{
    NotTaken, restore_numbers, value_within, with_exact_numbers_among, without_byte_order_mark,
};
use serde_json::{Value, json};
use std::borrow::Cow;

const IDEMPOTENCY_KEY: &str = "Idempotency-Key";
/// The longest `Idempotency-Key`, in characters.
const MAX_IDEMPOTENCY_KEY: usize = 255;

/// Accepts a message of an application.
pub(crate) async fn submit(request: &HttpRequest, payload: &mut Payload, state: &IngressState) -> Answer {
    let began = state.traces.began();
    let mut trace = RequestSpan::without_span(None);
    let mut answer = authenticated(request, state, Right::Send, async |principal| {
        trace = match principal {
            Principal::Anyone => trace_context::span(&state.traces, request, began, (None, None)),
            Principal::ApiKey(_) | Principal::CompatUser(_) => {
                trace_context::of(&state.traces, request, began)
            }
        };
        let (body, _reservation) = read_json(request, payload, &state.limits).await?;
        let key = idempotency_key(request.headers());
        let claim = match key.as_ref().ok().copied().flatten() {
            None => None,
            Some(key) => match state.acceptor.claim(principal, key, Fingerprint::of(body.clone())).await {
                Ok(claim) => Some(claim),
                Err(taken) => return repeated(taken, state),
            },
        };
        let recipients = RecipientsKey::of(&body);
        let submission = read(principal, body, key.err(), &state.acceptor)?;
        let outcome = state.acceptor.accept(principal, Submission { claim, ..submission }, &trace).await;
        let accepted = outcome.map(|new| accepted(&new));
        accepted.map_err(|rejected| rejection(&rejected.reason, recipients).naming(&submission::KEYS))
    })
    .await;
    answer.log.trace = Some(trace);
    answer
}

/// Reads the submission in `body`. `wrong_key` is what is wrong with the `Idempotency-Key` header, if
/// anything.
///
/// # Errors
/// Everything that is wrong with the body and the header, or only the backend if the principal cannot use it.
fn read(
    principal: Principal<'_>,
    body: Value,
    wrong_key: Option<Invalid>,
    acceptor: &Acceptor,
) -> Result<Submission, ProblemDocument> {
    let recipients = RecipientsKey::of(&body);
    let (named, submission) = submission::read(body, Timestamp::now());
    // A principal that may not use a backend does not learn what else is wrong.
    if let Some(name) = &named {
        acceptor
            .route(principal, Some(name.as_str()))
            .map_err(|reason| rejection(&reason, recipients).naming(&submission::KEYS))?;
    }
    match (submission, wrong_key) {
        (Ok(submission), None) => Ok(submission),
        (submission, wrong_key) => {
            let wrong = submission.err().into_iter().flatten().chain(wrong_key);
            Err(ProblemDocument::invalid(wrong.collect()).naming(&submission::KEYS))
        }
    }
}

/// The answer to a submission whose `Idempotency-Key` was used before: the first answer, if it is the
/// same submission.
fn repeated(taken: KeyTaken, state: &IngressState) -> Result<Answer, ProblemDocument> {
    match taken {
        KeyTaken::Repeated(first) => {
            state.metrics.duplicate(&first.backend);
            Ok(accepted(&first))
        }
        KeyTaken::Another => {
            let why = "was used for another message, which was accepted: a different message needs a \
                       different key";
            let problem = ProblemDocument::invalid(vec![Invalid::header(IDEMPOTENCY_KEY, why)]);
            Err(problem.refused(RefusalReason::Idempotency))
        }
    }
}

/// The answer to an accepted submission.
fn accepted(accepted: &Accepted) -> Answer {
    let mut answer = Answer::from(HttpResponse::Accepted().json(accepted_body(accepted)));
    answer.log.message = Some(accepted.id);
    answer
}

/// The body of that answer: what was accepted, and what it costs.
fn accepted_body(accepted: &Accepted) -> Value {
    let Accepted { id, backend, identities, parts, cost, .. } = accepted;
    let mut body = json!({"id": id, "backend": backend, "identities": identities});
    if let Some(cost) = cost {
        body["segments"] = cost.segments.into();
        body["encoding"] = json!(cost.alphabet);
    }
    if *parts > 1 {
        body["parts"] = (*parts).into();
    }
    body
}

/// The problem document for a rejection.
fn rejection(reason: &Rejection, recipients: RecipientsKey) -> ProblemDocument {
    if let Rejection::TooLarge = reason {
        return ProblemDocument::new(StatusCode::PAYLOAD_TOO_LARGE, reason.to_string());
    }
    if let Rejection::NotRecipients(wrong) = reason {
        let wrong = wrong.iter().map(|(at, why)| Invalid::at(recipients.one(*at), why.to_string()));
        return ProblemDocument::invalid(wrong.collect());
    }
    let pointer = match reason.field() {
        Some(SubmissionField::Destination) => "#/backend".to_owned(),
        Some(SubmissionField::Recipients) => recipients.all(),
        Some(SubmissionField::Text) => "#/text".to_owned(),
        Some(SubmissionField::Context) => "#/context".to_owned(),
        None => {
            let detail = "the broker did not confirm the message; try again later, with the same \
                 Idempotency-Key so that the message is not sent twice";
            return ProblemDocument::new(StatusCode::SERVICE_UNAVAILABLE, detail);
        }
    };
    let wrong = Invalid::at(pointer, reason.to_string());
    match reason {
        Rejection::Forbidden(_) => {
            ProblemDocument::of(StatusCode::FORBIDDEN, wrong).refused(RefusalReason::Backend)
        }
        Rejection::UnknownBackend(_) => ProblemDocument::of(StatusCode::NOT_FOUND, wrong),
        _ => ProblemDocument::invalid(vec![wrong]),
    }
}

/// Reads the JSON body. The reservation is to be kept until the request is answered.
async fn read_json(
    request: &HttpRequest,
    payload: &mut Payload,
    limits: &RequestLimits,
) -> Result<(Value, Reservation), ProblemDocument> {
    let declared = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = declared.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !is_json(&essence.to_ascii_lowercase()) {
        let detail = "the body must be JSON: Content-Type: application/json";
        return Err(ProblemDocument::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let body = body::read(request, payload, &limits.body).await;
    let Body { bytes, reservation } = body.map_err(|error| {
        let problem = ProblemDocument::new(error.status(), error.detail(&limits.body));
        error.reason().map_or(problem.clone(), |reason| problem.refused(reason))
    })?;
    // A body that is not UTF-8 is not JSON either: the JSON reader says where it is wrong.
    let body = without_byte_order_mark(&bytes);
    let exact = str::from_utf8(body).map(|body| with_exact_numbers_among(body, MESSAGE_LIMITS.values));
    let json = exact.as_deref().map_or(body, str::as_bytes);
    let read = value_within(json, MESSAGE_LIMITS).map_err(|why| match why {
        NotTaken::Invalid(error) => {
            ProblemDocument::new(StatusCode::BAD_REQUEST, json_error(&error)).refused(RefusalReason::Json)
        }
        NotTaken::Values | NotTaken::Name | NotTaken::Text(_) => {
            let most = MESSAGE_LIMITS.values;
            let why = format!("at most {most} members of objects and items of lists are accepted");
            ProblemDocument::invalid(vec![Invalid::at("#", why)]).refused(RefusalReason::Size)
        }
    });
    let mut read = read?;
    // Long numbers keep their digits in the context; elsewhere, they must not count as texts.
    if let (Value::Object(table), Ok(Cow::Owned(_)), Ok(written)) = (&mut read, &exact, str::from_utf8(body))
    {
        restore_numbers(written, table, &submission::TEXTS);
    }
    Ok((read, reservation))
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
            format!(
                "must be given once, with 1 to {MAX_IDEMPOTENCY_KEY} visible ASCII characters and no blank"
            ),
        )),
    }
}
