//! What an answer means: the one place that decides.
//!
//! | answer | outcome |
//! | --- | --- |
//! | status and body match `success` | sent |
//! | the status matches `success`, the body is cut short | sent if `success` asks for nothing in the body or what arrived matches, else unknown |
//! | no success, and one of `failures` matches | as that one says |
//! | 429 | throttled, after `Retry-After` |
//! | 408, 425, any 5xx | transient, after `Retry-After` |
//! | 401, 403, 407 | config: the credentials |
//! | 404, 405, any 3xx | config: the URL or the method; redirects are not followed, they would carry the message elsewhere |
//! | any other 4xx | permanent |
//! | a status below 300 that `success` does not name; a body that it does not match | transient: "200 ERROR" may be over soon, and a message that is not retried is lost |
//! | no connection | transient |
//! | a TLS handshake that fails because of our certificate; a proxy that refuses our password | config |
//! | a connection, then no whole answer | unknown: the provider may have the message |
//!
//! 404 is not permanent: with a mistyped `url` it is the answer to every message, and a few useless retries
//! for an unknown recipient cost less than a queue of dead letters.

use super::{
    answer::{MAX_BODY, ProviderAnswer},
    redact::Redactor,
    results, unreached,
};
use crate::outcome::{Outcome, Outcomes, Sent};
use jiff::{Timestamp, fmt::rfc2822::DateTimeParser};
use postern_config::backend::send::{AnswerBody, AnswerPart, KnownFailure, Results, Success};
use postern_shared::{
    error::{Failure, FailureClass, Unreached},
    message::Identity,
};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use std::{error::Error, time::Duration};

/// What a backend's answers mean.
#[derive(Debug)]
pub(crate) struct Classifier {
    pub(crate) success: Success,
    pub(crate) external_id: Option<AnswerPart>,
    pub(crate) failures: Vec<KnownFailure>,
    /// What a successful answer says about each recipient.
    pub(crate) results: Option<Results>,
    /// Where an answer holds how long to wait, in seconds.
    pub(crate) retry_after: Option<AnswerPart>,
    /// The most recipients of one request.
    pub(crate) recipients: usize,
    pub(crate) redactor: Redactor,
}

/// The bytes that an answer may use for one recipient.
const RESULT: usize = 1024;

impl Classifier {
    /// A classifier for answers of which only the status counts.
    pub(crate) fn by_status(redactor: Redactor) -> Self {
        Self {
            success: Success::default(),
            external_id: None,
            failures: Vec::new(),
            results: None,
            retry_after: None,
            recipients: 1,
            redactor,
        }
    }

    /// How many bytes of an answer are read: enough for what it says about every recipient.
    pub(crate) fn most_of_answer(&self) -> usize {
        MAX_BODY + self.results.as_ref().map_or(0, |_| self.recipients * RESULT)
    }

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
                Err(self.failure((class, code), answer.body.text(), answer, now))
            }
        }
    }

    /// The outcome for each of `identities`. `whole` is the outcome of their request as a whole, from
    /// `answer`.
    pub(crate) fn each(
        &self,
        whole: Outcome,
        answer: &ProviderAnswer,
        identities: &[Identity],
        now: Timestamp,
    ) -> Outcomes {
        match (whole, &self.results) {
            (Ok(sent), Some(results)) => {
                let failed = |meant, item: &str| self.failure(meant, item, answer, now);
                results::outcomes(results, &sent, answer, identities, failed)
            }
            (whole, _) => Outcomes::every(whole),
        }
    }

    /// The class and the code that the backend's `failures` give an answer.
    fn known(&self, body: &AnswerBody) -> Option<(FailureClass, String)> {
        self.failures.iter().find_map(|known| known.meant(known.at.find(body)))
    }

    /// A failure with this class and code. Its detail is `said`, a part of `answer`.
    fn failure(
        &self,
        (class, code): (FailureClass, String),
        said: &str,
        answer: &ProviderAnswer,
        now: Timestamp,
    ) -> Failure {
        let failure = Failure::new(class, code, self.redactor.detail(said));
        let waits = matches!(class, FailureClass::Transient | FailureClass::Throttled);
        let retry_after = waits.then(|| self.retry_after(answer, now)).flatten();
        Failure { http_status: Some(answer.status), retry_after, ..failure }
    }

    /// How long `answer` asks to wait: by its body, else by its header.
    fn retry_after(&self, answer: &ProviderAnswer, now: Timestamp) -> Option<Duration> {
        let told = self.retry_after.as_ref().and_then(|place| place.find(&answer.body));
        let seconds = told.and_then(|seconds| seconds.trim().parse().ok());
        let told = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        told.or_else(|| retry_after(&answer.headers, now))
    }

    /// The outcome for the recipients of a request to which no answer began to arrive.
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
            Failure::config("client_certificate", "the provider refused the TLS handshake: check send.tls")
        } else if unreached::proxy_refused(error) {
            Failure::config("http_407", "the proxy refused the user name and password: check send.proxy")
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

/// The pause that `Retry-After` asks for (RFC 9110, 10.2.3): seconds, or a date in one of the three forms
/// of 5.6.7. A date with a numeric time zone, which the RFC does not allow, is understood, too.
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
