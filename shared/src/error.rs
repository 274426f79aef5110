//! Why a send failed, as data: one closed set of classes decides what happens next.

use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};

/// The class of a failure, which decides whether another attempt follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureClass {
    /// Another attempt may succeed: a network error, a 5xx.
    Transient,
    /// The provider asks for fewer requests: a 429, a throughput error.
    Throttled,
    /// No attempt will succeed for this recipient or this text: a 4xx, a recipient who opted out.
    Permanent,
    /// No attempt will succeed until the configuration is corrected: a 401, a template that fails.
    Config,
    /// Nobody knows whether the provider has the message, or what its report means. There was no
    /// complete answer, the sender panicked or gave no outcome, or the process crashed each time.
    Unknown,
}

impl FailureClass {
    /// Every class, for metrics and documentation.
    pub const ALL: [Self; 5] =
        [Self::Transient, Self::Throttled, Self::Permanent, Self::Config, Self::Unknown];

    /// The name in reports and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::Throttled => "throttled",
            Self::Permanent => "permanent",
            Self::Config => "config",
            Self::Unknown => "unknown",
        }
    }

    /// The class with this [name](Self::as_str). `None` if there is none.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }
}

/// One failed attempt for one recipient.
///
/// ```
/// use postern_shared::error::{Failure, FailureClass};
/// use std::time::Duration;
///
/// let busy = Failure::throttled("http_429", "slow down", Some(Duration::from_secs(30)));
/// assert_eq!(busy.class, FailureClass::Throttled);
/// assert_eq!(busy.retry_after, Some(Duration::from_secs(30)));
///
/// let refused = Failure::permanent("http_400", "unknown number");
/// let down = Failure { http_status: Some(503), ..Failure::transient("http_503", "maintenance") };
/// assert!(down.says_down() && !refused.says_down());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The class, which decides what happens next.
    pub class: FailureClass,
    /// A short, stable name: `http_400`, `timeout`, `connect`.
    pub code: Cow<'static, str>,
    /// An explanation for a person. It goes into the report, never into a log line.
    pub detail: String,
    /// How long the provider asked to wait. `None` if it did not ask.
    pub retry_after: Option<Duration>,
    /// The host that gave no answer, and why. `None` if there was an answer, or no request to a host.
    pub unreached: Option<Unreached>,
    /// The status code of the answer. `None` if there was none.
    pub http_status: Option<u16>,
    /// How long the attempt took, in milliseconds. `None` if none was begun. The caller of a sender sets it.
    pub duration_ms: Option<u32>,
}

/// A host that gave no answer, described in Postern's own words, which may go into a log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached {
    /// The host, with the port if the URL names one. `None` unless the configuration chose the host.
    pub host: Option<String>,
    /// Why there was no answer: `connection refused`, `unknown host`, `TLS certificate expired`.
    pub reason: &'static str,
}

impl Failure {
    /// Whether no connection was made (`connect`): the host has no address, refused the connection, did
    /// not answer, or showed no trusted certificate. Nothing was sent, and the message is not to blame.
    pub fn had_no_connection(&self) -> bool {
        self.class == FailureClass::Transient && self.code == "connect"
    }

    /// Whether the failure says that the provider is down, and not only that this message failed. It
    /// does if no connection was made ([`had_no_connection`](Self::had_no_connection)), if there was no
    /// answer (`timeout`, `no_answer`, or any `unknown` except `no_outcome` and `panic`), or if the
    /// answer was 408 or a 5xx (`http_408`, `http_5…`). The prefix `token_` says the same of the
    /// provider's token endpoint, without which nothing is sent. A sender of your own uses the code
    /// `down` or one of the codes above.
    pub fn says_down(&self) -> bool {
        match self.class {
            FailureClass::Transient => {
                let code = self.code.strip_prefix("token_").unwrap_or(&self.code);
                matches!(code, "connect" | "timeout" | "no_answer" | "down" | "http_408")
                    || is_http(code, '5')
            }
            FailureClass::Unknown => !matches!(&*self.code, "no_outcome" | "panic"),
            FailureClass::Throttled | FailureClass::Permanent | FailureClass::Config => false,
        }
    }

    /// Whether the answer was neither an error nor what the configuration calls a success: a body that
    /// `send.success` does not match (`not_accepted`), or a 2xx that it does not list (`http_2…`). For
    /// one message, that is an ordinary refusal. A run of them without any success means that the
    /// configuration does not fit the provider, which may well have sent every message.
    pub fn was_not_accepted(&self) -> bool {
        self.class == FailureClass::Transient && (self.code == "not_accepted" || is_http(&self.code, '2'))
    }

    /// Whether the request was accepted, but nothing says what became of this recipient (`no_outcome`): the
    /// answer does not mention it (`send.results`), or a sender gave no outcome for it. A run of them
    /// without any success means the same as one of [`was_not_accepted`](Self::was_not_accepted): the
    /// configuration does not fit the provider, which may well have sent every message.
    pub fn had_no_outcome(&self) -> bool {
        self.class == FailureClass::Unknown && self.code == "no_outcome"
    }

    /// Whether the provider may have the message although it gave no answer: [`FailureClass::Unknown`], or
    /// a proxy's answer that the provider behind it did not answer in time (`http_504`).
    pub fn was_unanswered(&self) -> bool {
        self.class == FailureClass::Unknown || self.code == "http_504"
    }

    /// This failure as the reason why a recipient is given up whom an attempt may have reached: its class is
    /// [`FailureClass::Unknown`], and its detail says so.
    #[must_use]
    pub fn in_doubt(self) -> Self {
        if self.class == FailureClass::Unknown {
            return self;
        }
        let colon = if self.detail.is_empty() { "" } else { "; " };
        let detail = format!("{}{colon}an attempt was not answered: the provider may have it", self.detail);
        Self { class: FailureClass::Unknown, detail, ..self }
    }

    /// A failure of `class`, with `code` and `detail` only.
    pub fn new(class: FailureClass, code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self {
            class,
            code: code.into(),
            detail: detail.into(),
            retry_after: None,
            unreached: None,
            http_status: None,
            duration_ms: None,
        }
    }

    /// A [`FailureClass::Transient`] failure: another attempt may succeed.
    pub fn transient(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(FailureClass::Transient, code, detail)
    }

    /// A [`FailureClass::Permanent`] failure: no attempt will succeed.
    pub fn permanent(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(FailureClass::Permanent, code, detail)
    }

    /// A [`FailureClass::Config`] failure: the configuration must be corrected first.
    pub fn config(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(FailureClass::Config, code, detail)
    }

    /// A [`FailureClass::Unknown`] failure: nobody knows whether the provider has the message.
    pub fn unknown(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(FailureClass::Unknown, code, detail)
    }

    /// A [`FailureClass::Throttled`] failure. `retry_after` is how long the provider asked to wait, if
    /// it did.
    pub fn throttled(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
        retry_after: Option<Duration>,
    ) -> Self {
        Self { retry_after, ..Self::new(FailureClass::Throttled, code, detail) }
    }
}

/// Whether `code` is `http_` with a status of three digits that begins with `first`.
fn is_http(code: &str, first: char) -> bool {
    code.strip_prefix("http_").is_some_and(|status| status.len() == 3 && status.starts_with(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_whether_the_provider_is_down_or_did_not_accept() {
        for (failure, down, not_accepted, no_connection) in [
            (Failure::transient("connect", ""), true, false, true),
            (Failure::transient("http_503", ""), true, false, false),
            (Failure::transient("http_408", ""), true, false, false),
            (Failure::transient("http_425", ""), false, false, false),
            (Failure::transient("not_accepted", ""), false, true, false),
            (Failure::transient("http_200", ""), false, true, false),
            (Failure::transient("http_2000", ""), false, false, false),
            (Failure::transient("another", ""), false, false, false),
            (Failure::transient("token_connect", ""), true, false, false),
            (Failure::transient("token_http_503", ""), true, false, false),
            (Failure::transient("token_another", ""), false, false, false),
            (Failure::permanent("not_accepted", ""), false, false, false),
            (Failure::permanent("connect", ""), false, false, false),
            (Failure::unknown("timeout", ""), true, false, false),
            (Failure::unknown("no_outcome", ""), false, false, false),
        ] {
            let said = (failure.says_down(), failure.was_not_accepted(), failure.had_no_connection());
            assert_eq!(said, (down, not_accepted, no_connection), "{failure:?}");
            assert_eq!(failure.had_no_outcome(), failure.code == "no_outcome", "{failure:?}");
        }
    }
}
