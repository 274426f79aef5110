//! Problem documents (RFC 9457), with which `/v1` refuses requests.

use crate::{
    answer::{Answer, RETRY_AFTER},
    forms::list,
    refusal_reason::RefusalReason,
};
use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
};
use postern_service::rates::retry_after;
use serde::Serialize;
use std::time::Duration;

/// The media type of a problem document.
const MEDIA_TYPE: &str = "application/problem+json";

/// A problem document. Its type is `about:blank`: the status says what kind of problem it is.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ProblemDocument {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Invalid>,
    /// `Retry-After`, in seconds.
    #[serde(skip)]
    retry_after: Option<u64>,
    /// Why the request is refused, for the log. `None`: the status says enough.
    #[serde(skip)]
    refused: Option<RefusalReason>,
    /// The fields that are wrong, for the log.
    #[serde(skip)]
    fields: Option<Box<str>>,
}

/// What is wrong with one part of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Invalid {
    /// The place in the body: a JSON pointer as a URI fragment, such as `#/identities/0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pointer: Option<String>,
    /// The header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) header: Option<&'static str>,
    /// The parameter of the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) parameter: Option<String>,
    /// What is wrong, for a person to read.
    pub(crate) detail: String,
}

impl Invalid {
    /// A mistake in the body at `pointer`, which begins with `#`.
    pub(crate) fn at(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: Some(pointer.into()), header: None, parameter: None, detail: detail.into() }
    }

    /// A mistake in the header `name`.
    pub(crate) fn header(name: &'static str, detail: impl Into<String>) -> Self {
        Self { pointer: None, header: Some(name), parameter: None, detail: detail.into() }
    }

    /// A mistake in the parameter `name` of the query.
    pub(crate) fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: None, header: None, parameter: Some(name.into()), detail: detail.into() }
    }
}

impl ProblemDocument {
    /// The problem that `status` names.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER),
            refused: None,
            fields: None,
        }
    }

    /// The problem that `status` names, about one part of the request.
    pub(crate) fn of(status: StatusCode, wrong: Invalid) -> Self {
        Self { errors: vec![wrong.clone()], ..Self::new(status, wrong.detail) }
    }

    /// The same problem, with the reason for the log.
    pub(crate) fn refused(self, why: RefusalReason) -> Self {
        Self { refused: Some(why), ..self }
    }

    /// The same problem, with the wrong fields for the log. Only names in `known` are logged: a request may
    /// contain any other name.
    pub(crate) fn naming(self, known: &[&'static str]) -> Self {
        let of = |error: &Invalid| {
            let place = error.pointer.as_deref().map(|pointer| pointer.trim_start_matches("#/"));
            let name = place.and_then(|place| place.split('/').next());
            let name = name.or(error.parameter.as_deref()).or(error.header);
            known.iter().chain(error.header.iter()).find(|known| Some(**known) == name).copied()
        };
        let fields = list(self.errors.iter().filter_map(of));
        Self { fields: fields.map(String::into_boxed_str), ..self }
    }

    /// The problem with status 422 and everything that is wrong.
    pub(crate) fn invalid(errors: Vec<Invalid>) -> Self {
        let lines = errors.iter().map(|error| {
            let place = error.pointer.as_deref().or(error.parameter.as_deref()).or(error.header);
            let place = place.unwrap_or_default();
            format!("{}: {}", place.trim_start_matches("#/"), error.detail)
        });
        let detail = lines.collect::<Vec<_>>().join("; ");
        Self { errors, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail) }
    }

    /// The response.
    fn response(&self) -> HttpResponse {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut response = HttpResponse::build(status);
        match status {
            StatusCode::UNAUTHORIZED => {
                response.insert_header((header::WWW_AUTHENTICATE, "Bearer"));
            }
            StatusCode::REQUEST_TIMEOUT => {
                response.force_close();
            }
            _ => {}
        }
        if let Some(seconds) = self.retry_after {
            response.insert_header((header::RETRY_AFTER, seconds));
        }
        response.content_type(MEDIA_TYPE).body(serde_json::to_vec(self).unwrap_or_default())
    }

    /// The same problem without `Retry-After`: it lasts until somebody changes the configuration.
    pub(crate) fn lasting(self) -> Self {
        Self { retry_after: None, ..self }
    }

    /// The problem of an API key or an address that exceeds its rate.
    pub(crate) fn too_many(wait: Duration) -> Self {
        let seconds = retry_after(wait);
        let detail = format!("too many requests; try again in {seconds} s");
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, detail).refused(RefusalReason::Rate);
        Self { retry_after: Some(seconds), ..problem }
    }

    /// The answer to a method that is not in `allow`.
    pub(crate) fn method(allow: &'static str) -> Answer {
        let detail = format!("the methods allowed here are: {allow}");
        let mut response = Self::new(StatusCode::METHOD_NOT_ALLOWED, detail).response();
        response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allow));
        response.into()
    }
}

impl From<ProblemDocument> for Answer {
    fn from(problem: ProblemDocument) -> Self {
        let mut answer = Self::from(problem.response());
        answer.log.refused = problem.refused;
        answer.log.fields = problem.fields.map(String::from);
        answer
    }
}
