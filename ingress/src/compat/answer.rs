//! What the answers of the compatibility listeners have in common.

use crate::{
    answer::{Answer, RETRY_AFTER},
    forms::list,
    refusal_reason::RefusalReason,
};
use actix_web::{
    HttpResponse, HttpResponseBuilder,
    http::{StatusCode, header},
};
use postern_service::{rates::retry_after, traces::RequestSpan};
use std::time::Duration;

/// Marks `answer` as one of the listener `compat`, for the log, and gives it a trace of its own unless the
/// request has proved whose it is.
pub(super) fn logged(mut answer: Answer, compat: &'static str) -> Answer {
    answer.log.trace.get_or_insert_with(|| RequestSpan::without_span(None));
    answer.log.compat = Some(compat);
    answer
}

/// The beginning of a response, with the headers that its status needs. `allow` lists the
/// listener's methods.
pub(super) fn response(status: StatusCode, allow: &'static str) -> HttpResponseBuilder {
    let mut response = HttpResponse::build(status);
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            response.insert_header((header::ALLOW, allow));
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            response.insert_header((header::RETRY_AFTER, RETRY_AFTER));
        }
        StatusCode::REQUEST_TIMEOUT => {
            response.force_close();
        }
        _ => {}
    }
    response
}

/// The answer to a refused request. `reason` is `None` if the status says enough; `fields` are the invalid
/// ones, by the protocol's names.
pub(super) fn refused(
    response: HttpResponse,
    reason: Option<RefusalReason>,
    fields: &[&'static str],
) -> Answer {
    let mut answer = Answer::from(response);
    answer.log.refused = reason;
    answer.log.fields = list(fields.iter().copied());
    answer
}

/// The answer to a user that exceeds its rate and may try again after `wait`.
pub(super) fn too_many(mut response: HttpResponse, wait: Duration) -> Answer {
    response.headers_mut().insert(header::RETRY_AFTER, retry_after(wait).into());
    Answer::refused(response, RefusalReason::Rate)
}
