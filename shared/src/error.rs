//! Why a send failed, as data: one closed set of classes decides what happens next.

use serde::{Deserialize, Serialize};
use std::{borrow::Cow, time::Duration};

/// What a failure means for trying again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FailureClass {
    /// It may work later: the network, a 5xx.
    Transient,
    /// The provider asks for less: a 429, a throughput error.
    Throttled,
    /// It will never work for this recipient or this text: a 4xx, opted out.
    Permanent,
    /// It will not work for anyone until the configuration is mended: a 401, a template that fails.
    Config,
    /// The request was written and never answered: the provider may have sent it.
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
}

/// One failed attempt for one identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Decides what happens next.
    pub class: FailureClass,
    /// A short, stable name: `http_400`, `timeout`, `connect`.
    pub code: Cow<'static, str>,
    /// For a person to read; goes into the report, never into a log.
    pub detail: String,
    /// How long the provider asked to wait.
    pub retry_after: Option<Duration>,
    /// Where there was no answer, and why. `None` if there was one.
    pub unreached: Option<Unreached>,
    /// The status code of the answer. `None` if there was none.
    pub http_status: Option<u16>,
    /// How long the attempt took, in milliseconds. `None` if none was begun. Whoever calls a sender fills it
    /// in.
    pub duration_ms: Option<u32>,
}

/// A host from which no answer came, in words of our own side: it may go into a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached {
    /// The host, with the port if the URL names one. `None` if somebody else than the configuration chose
    /// the host.
    pub host: Option<String>,
    /// Why: `connection refused`, `unknown host`, `TLS certificate expired`.
    pub reason: &'static str,
}

impl Failure {
    /// Whether there was no connection (`connect`): the host has no address, refused it, did not answer, or
    /// showed no certificate that is trusted. Nothing was sent, and it is not the message's fault.
    pub fn had_no_connection(&self) -> bool {
        self.class == FailureClass::Transient && self.code == "connect"
    }

    /// Whether it says that the provider is down, and not only that this message failed: there was no
    /// connection ([`had_no_connection`](Self::had_no_connection)), nobody answered (`timeout`, `no_answer`, or any
    /// `unknown` but `no_outcome` and `panic`), or the answer was 408 or a 5xx (`http_408`, `http_5…`). All of
    /// these with `token_` before them say it of the provider's token endpoint, without which nothing is sent.
    /// A sender of one's own says it with the code `down`, or one of these.
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

    /// Whether the provider answered, and neither with what the configuration calls a success nor with an
    /// error: a body that `send.success` does not match (`not_accepted`), or a 2xx that it does not name
    /// (`http_2…`). Of one message it is an ordinary refusal. A run of them without any success says that
    /// the configuration does not fit the provider, which may well have sent every one.
    pub fn was_not_accepted(&self) -> bool {
        self.class == FailureClass::Transient && (self.code == "not_accepted" || is_http(&self.code, '2'))
    }

    /// A failure without a provider's wish for its delay.
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

    /// It may work later.
    pub fn transient(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(FailureClass::Transient, code, detail)
    }

    /// It will never work.
    pub fn permanent(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(FailureClass::Permanent, code, detail)
    }

    /// The configuration must be mended first.
    pub fn config(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(FailureClass::Config, code, detail)
    }

    /// Written, never answered.
    pub fn unknown(code: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::new(FailureClass::Unknown, code, detail)
    }

    /// The provider asks for less, after `retry_after` where it says so.
    pub fn throttled(
        code: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
        retry_after: Option<Duration>,
    ) -> Self {
        Self { retry_after, ..Self::new(FailureClass::Throttled, code, detail) }
    }
}

/// Whether `code` is that of a status of three digits, of which `first` is the first.
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
        }
    }
}
