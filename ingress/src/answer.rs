//! What a handler returns: the response, and what the request's log line, the metrics and the rate limit need
//! to know about it. Also the plain-text responses that several handlers share.

use crate::{forms::Errors, refusal_reason::RefusalReason};
use actix_web::{
    HttpResponse,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
};
use postern_service::{rates::retry_after, traces::RequestSpan};
use postern_shared::message::{BackendName, MessageId};
use std::time::Duration;

/// `Retry-After` of a request that could not be stored, in seconds.
pub(crate) const RETRY_AFTER: u64 = 5;

/// A handler's result.
#[derive(Debug)]
pub(crate) struct Answer {
    /// What the client gets.
    pub(crate) response: HttpResponse,
    /// What the log and the metrics get.
    pub(crate) log: RequestLog,
    /// Whether the request counts against its address's rate.
    pub(crate) charge: Charge,
}

/// What a handler found out about a request.
#[derive(Debug, Default)]
pub(crate) struct RequestLog {
    /// The configured backend that the request is about; a label of the metrics.
    pub(crate) backend: Option<BackendName>,
    /// The other gateway's protocol that the request speaks: one of a closed set, and a label of
    /// the metrics. `None` for requests of providers and of `/v1`.
    pub(crate) compat: Option<&'static str>,
    /// The id of the message that the request became, if it became one.
    pub(crate) message: Option<MessageId>,
    /// How many messages and delivery reports a provider's request brought. `None` for any other.
    pub(crate) items: Option<usize>,
    /// How many messages of a provider's request have U+FFFD in their text, in place of bytes that are
    /// invalid in the charset with which the text was read.
    pub(crate) replaced: usize,
    /// How many other items of a provider's request are invalid and not stored.
    pub(crate) invalid: usize,
    /// The trace that the request belongs to, and its span in it.
    pub(crate) trace: Option<RequestSpan>,
    /// Why the request was refused. `None`: the reason follows from the answer's status.
    pub(crate) refused: Option<RefusalReason>,
    /// The invalid fields, by their names in the configuration or the protocol.
    pub(crate) fields: Option<String>,
    /// The numbers of the backend's checks that the request fails.
    pub(crate) checks: Option<String>,
    /// How long the request waited for new messages because its client asked for that.
    pub(crate) waited: Duration,
}

/// Whether a request counts against its address's rate (`ingress.rate_limit`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charge {
    /// It counts, because it proved nothing.
    Address,
    /// It does not count: it proved whose it is, or was counted already.
    Nothing,
}

impl From<HttpResponse> for Answer {
    /// An answer with nothing more to log, to a request that proved nothing.
    fn from(response: HttpResponse) -> Self {
        Self { response, log: RequestLog::default(), charge: Charge::Address }
    }
}

impl Answer {
    /// The answer to a request that is refused.
    pub(crate) fn refused(response: HttpResponse, why: RefusalReason) -> Self {
        let mut answer = Self::from(response);
        answer.log.refused = Some(why);
        answer
    }

    /// The answer to an invalid request.
    pub(crate) fn invalid(errors: &Errors) -> Self {
        let mut answer = Self::refused(text(StatusCode::BAD_REQUEST, &errors.to_string()), errors.reason());
        answer.log.fields = errors.fields();
        answer.log.checks = errors.checks();
        answer
    }

    /// The same answer, with the message and the backend for the log line.
    pub(crate) fn about(
        mut self,
        message: impl Into<Option<MessageId>>,
        backend: impl Into<Option<BackendName>>,
    ) -> Self {
        self.log.message = message.into();
        self.log.backend = backend.into();
        self
    }

    /// The same answer; `charge` says whether the request counts against its address's rate.
    pub(crate) fn charged(self, charge: Charge) -> Self {
        Self { charge, ..self }
    }
}

/// The answer to an address that exceeds its rate.
pub(crate) fn too_many(wait: Duration) -> HttpResponse {
    let mut answer = text(StatusCode::TOO_MANY_REQUESTS, "too many requests; try again later");
    answer.headers_mut().insert(header::RETRY_AFTER, retry_after(wait).into());
    answer
}

/// The answer to a request that may be valid, but whose storing was not confirmed.
pub(crate) fn unavailable() -> HttpResponse {
    let mut answer =
        text(StatusCode::SERVICE_UNAVAILABLE, "the broker did not confirm the message; try again later");
    answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER));
    answer
}

/// A plain-text response of one or more lines. A browser never renders it as a page.
pub(crate) fn text(status: StatusCode, body: &str) -> HttpResponse {
    HttpResponse::build(status)
        .content_type("text/plain; charset=utf-8")
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .body(format!("{body}\n"))
}
