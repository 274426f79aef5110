//! What an answer means: the one place that decides.
//!
//! | answer | outcome |
//! | --- | --- |
//! | status and body as `success` says | sent |
//! | the status as `success` says, the body cut short | sent where `success` asks for nothing in the body or what came is as it says, else unknown |
//! | no success, and one of `failures` | as that says |
//! | 429 | throttled, after `Retry-After` |
//! | 408, 425, any 5xx | transient, after `Retry-After` |
//! | 401, 403, 407 | config: the credentials |
//! | 404, 405, any 3xx | config: the URL or the method; redirects are not followed, they would carry the message elsewhere |
//! | any other 4xx | permanent |
//! | a status that `success` does not name, below 300; a body that it does not match | transient: "200 ERROR" may be over soon, and what is not tried again is lost |
//! | no connection | transient |
//! | a handshake that ends with a word about our certificate; a proxy that refuses our password | config |
//! | a connection, then no whole answer | unknown: the provider may have the message |
//!
//! 404 is not permanent: it is what a mistyped `url` answers to every message, and a few vain
//! retries for a recipient that is unknown cost less than a queue of dead letters.

use super::{answer::ProviderAnswer, redact::Redactor, unreached};
use crate::outcome::{Outcome, Sent};
use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use postern_config::backend::send::{AnswerPart, KnownFailure, Success};
use postern_shared::error::{Failure, FailureClass, Unreached};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::{error::Error, time::Duration};

/// What a backend's answers mean.
#[derive(Debug)]
pub(crate) struct Classifier {
    pub(crate) success: Success,
    pub(crate) external_id: Option<AnswerPart>,
    pub(crate) failures: Vec<KnownFailure>,
    pub(crate) redactor: Redactor,
}

impl Classifier {
    /// The outcome for the recipients of the request that `answer` answers, at `now`.
    pub(crate) fn classify(&self, answer: &ProviderAnswer, now: Timestamp) -> Outcome {
        let status_matches = self.success.status.iter().any(|pattern| pattern.matches(answer.status));
        let body_matches = self.success.is_body(&answer.body);
        match (status_matches, body_matches, answer.complete) {
            (true, true, _) => {
                let external_id = self.external_id.as_ref().and_then(|place| place.find(&answer.body));
                Ok(Sent { external_id, http_status: Some(answer.status), duration_ms: None })
            }
            (true, false, false) => {
                let cut = Failure::unknown("answer_cut", "the answer ended before it was complete");
                Err(Failure { http_status: Some(answer.status), ..cut })
            }
            (matches, ..) => {
                let by_status = || match matches {
                    true => (FailureClass::Transient, "not_accepted".to_owned()),
                    false => (class_of(answer.status), format!("http_{}", answer.status)),
                };
                let (class, code) = self.known(&answer.body).unwrap_or_else(by_status);
                let mut failure = self.failure(class, code, answer);
                if matches!(class, FailureClass::Transient | FailureClass::Throttled) {
                    failure.retry_after = retry_after(&answer.headers, now);
                }
                Err(failure)
            }
        }
    }

    /// What the backend's `failures` say of an answer.
    fn known(&self, body: &str) -> Option<(FailureClass, String)> {
        self.failures.iter().find_map(|known| {
            let error = known.at.find(body).filter(|error| known.is.0.contains(error))?;
            Some((known.class, known.code.clone().unwrap_or(error)))
        })
    }

    fn failure(&self, class: FailureClass, code: String, answer: &ProviderAnswer) -> Failure {
        let failure = Failure::new(class, code, self.redactor.detail(&answer.body));
        Failure { http_status: Some(answer.status), ..failure }
    }

    /// The outcome for the recipients of a request to which no answer began.
    pub(crate) fn no_answer(&self, error: &reqwest::Error) -> Failure {
        let mut innermost: &dyn Error = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        let detail = match innermost.downcast_ref::<reqwest::Error>() {
            // Its own text holds the URL.
            Some(_) => String::new(),
            None => self.redactor.detail(&innermost.to_string()),
        };
        let failure = if unreached::certificate_was_refused(error) {
            Failure::config("client_certificate", "the provider refuses the TLS handshake: see send.tls")
        } else if unreached::proxy_refused(error) {
            Failure::config("http_407", "the proxy refuses its user and password: see send.proxy")
        } else if error.is_connect() {
            Failure::transient("connect", detail)
        } else if error.is_timeout() {
            Failure::unknown("timeout", "no answer within the timeout")
        } else if error.is_builder() {
            return Failure::config("request", detail);
        } else {
            Failure::unknown("no_answer", detail)
        };
        let host = error.url().and_then(unreached::host);
        Failure { unreached: Some(Unreached { host, reason: unreached::reason(error) }), ..failure }
    }
}

fn class_of(status: u16) -> FailureClass {
    match status {
        429 => FailureClass::Throttled,
        401 | 403 | 407 | 404 | 405 | 300..=399 => FailureClass::Config,
        408 | 425 => FailureClass::Transient,
        400..=499 => FailureClass::Permanent,
        _ => FailureClass::Transient,
    }
}

/// RFC 9110, 10.2.3: seconds, or a date in one of the three forms of 5.6.7. A date with a numeric time zone,
/// which the RFC does not allow, is understood, too.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let by_rfc = httpdate::parse_http_date(value).ok().and_then(|at| Timestamp::try_from(at).ok());
    let relaxed = || DateTimeParser::new().relaxed_weekday(true).parse_timestamp(value).ok();
    let at = by_rfc.or_else(relaxed)?;
    Some(Duration::try_from(at.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests;
