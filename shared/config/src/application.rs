//! `[application]`: who answers inbound messages, and how a webhook is called.

use crate::backend::{
    flow::{BreakerSection, BreakerTable, RetrySection},
    send_auth::Auth,
    template::UrlTemplate,
    userinfo,
};
use crate::{flow_check, lines::join, reader::Reader};
use indexmap::IndexMap;
use postern_shared::{
    message::BackendName,
    suggest,
    value::{
        HeaderName, MAX_CONCURRENCY, NOT_A_HEADER_VALUE, Secret, SigningKey, SigningKeys, Span, fits_header,
    },
};
use serde::Deserialize;
use serde_json::Value;
use std::{fmt, time::Duration};
use url::Url;

/// The allowed types, as errors list them.
const TYPES: &str = "allowed: \"none\", \"echo\", \"webhook\"";
/// The longest timeout of a webhook: RabbitMQ requeues what was not settled after 30 minutes.
const MAX_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Headers that Postern or the HTTP client sets in each delivery, so that `headers` may not.
const TAKEN: [&str; 9] = [
    "content-type",
    "content-length",
    "connection",
    "transfer-encoding",
    "upgrade",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "x-postern-type",
];

/// `[application]`: who answers inbound messages, besides any consumer of `postern.inbound`.
#[derive(Debug, Clone)]
pub enum ApplicationSection {
    /// Nobody in Postern: only the consumers of `postern.inbound` do.
    None,
    /// The dispatcher, with the text that it got.
    Echo,
    /// An HTTP server that the dispatcher calls.
    Webhook(Box<Webhook>),
}

/// `[application]` with `type = "webhook"`: where inbound messages are POSTed to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// The address, `http://…` or `https://…`. In its path or query, `{{ backend }}` stands for the backend's
    /// name. A secret: it may hold a token.
    pub url: Secret,
    /// The format of what is POSTed.
    #[serde(default)]
    pub format: WebhookFormat,
    /// The keys that deliveries are signed with. Each delivery has a signature by every key, so that a receiver
    /// can change from one key to the next. Required for `json`.
    #[serde(default, rename = "secret")]
    pub secrets: SigningKeys,
    /// How long connecting, sending and the whole answer may take; at most 10 minutes.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
    /// Whether reports are delivered, too. Default: true for `json`. As `form` they cannot be delivered.
    pub reports: Option<bool>,
    /// The most deliveries in flight, 1 to 2,000.
    #[serde(default = "sixty_four")]
    pub concurrency: u16,
    /// Further headers; every delivery has the same.
    #[serde(default)]
    pub headers: IndexMap<HeaderName, Secret>,
    /// The `Authorization` header.
    pub auth: Option<Auth>,
    /// The webhook's own delays. `None`: those of `[retry]`.
    pub retry: Option<RetrySection>,
    /// When deliveries pause because the server is down. Keys that are absent are taken from `[breaker]`.
    pub breaker: Option<BreakerTable>,
}

/// The format of what a webhook is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookFormat {
    /// JSON, the same as in the queues.
    #[default]
    Json,
    /// `identity`, `text` and the fields, urlencoded, as RapidSMS's HTTP backend expects them.
    Form,
}

fn ten_seconds() -> Span {
    Span(Duration::from_secs(10))
}

fn sixty_four() -> u16 {
    64
}

/// The address of a [`Webhook`], which may depend on the backend that a message came through.
#[derive(Clone)]
pub struct WebhookUrl(UrlTemplate);

impl WebhookUrl {
    /// The address for messages of `backend`.
    ///
    /// # Errors
    /// The template does not produce an `http` or `https` URL. The text does not quote what it produces.
    pub fn of(&self, backend: &BackendName) -> Result<Url, String> {
        self.made_for(backend.as_str())
    }

    fn made_for(&self, backend: &str) -> Result<Url, String> {
        let made = self.0.render(&minijinja::context! { backend }).map_err(|error| error.to_string())?;
        let url = Url::parse(&made).map_err(|error| format!("not a URL: {error}"))?;
        let http = matches!(url.scheme(), "http" | "https") && url.has_host();
        if http { Ok(url) } else { Err("must be a URL: http://… or https://…".to_owned()) }
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[REDACTED]")
    }
}

impl Webhook {
    /// The webhook's address.
    ///
    /// # Errors
    /// What is wrong with `url`.
    pub fn address(&self) -> Result<WebhookUrl, String> {
        let address = WebhookUrl(UrlTemplate::seeing(self.url.expose(), &["backend"])?);
        let url = address.made_for("any")?;
        if userinfo::has_user(url.as_str()) {
            return Err(userinfo::belongs_into("auth"));
        }
        Ok(address)
    }

    /// The webhook's circuit breaker: its own `breaker` table, and `general` for the keys that are absent there.
    pub fn breaker_over(&self, general: BreakerSection) -> BreakerSection {
        self.breaker.map_or(general, |own| own.over(general))
    }

    /// Whether reports are delivered, too.
    pub fn wants_reports(&self) -> bool {
        self.reports.unwrap_or(self.format == WebhookFormat::Json)
    }

    /// The mistakes that the types do not rule out: a key below `application`, and what is wrong.
    fn problems(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let mut check = |key: &str, is_wrong: bool, why: &str| {
            if is_wrong {
                wrong.push((key.to_owned(), why.to_owned()));
            }
        };
        let address = self.address().err();
        check("url", address.is_some(), &address.unwrap_or_default());
        let unsigned = self.format == WebhookFormat::Json && self.secrets.0.is_empty();
        check(
            "secret",
            unsigned,
            &format!("is missing: with format = \"json\", requests are signed; {}", SigningKey::RULE),
        );
        check("timeout", self.timeout.0.is_zero(), "must be longer than 0");
        check("timeout", self.timeout.0 > MAX_TIMEOUT, "must be at most 10m");
        let reports_as_form = self.format == WebhookFormat::Form && self.reports == Some(true);
        check(
            "reports",
            reports_as_form,
            "a form cannot hold a report: remove this key, or set format = \"json\"",
        );
        check("concurrency", !(1..=MAX_CONCURRENCY).contains(&self.concurrency), "must be 1 to 2000");
        for (name, value) in &self.headers {
            let key = format!("headers.{}", name.0);
            check(&key, TAKEN.contains(&name.0.as_str()), "is set by Postern itself");
            let twice = self.auth.is_some() && name.0 == "authorization";
            check(&key, twice, "auth sets Authorization already: use only one of them");
            check(&key, !fits_header(value.expose()), NOT_A_HEADER_VALUE);
        }
        if let Some(Auth::Bearer(token)) = &self.auth {
            check("auth.bearer", !fits_header(token.expose()), NOT_A_HEADER_VALUE);
        }
        wrong
    }
}

/// Reads `[application]`; its `type` decides which other keys are allowed. `breaker` is `[breaker]`, if that could
/// be read.
pub(super) fn read(
    reader: &mut Reader,
    section: Value,
    breaker: Option<BreakerSection>,
) -> Option<ApplicationSection> {
    const PATH: &str = "application";
    let Value::Object(mut table) = section else {
        reader.unreadable(PATH, "must be a table");
        return None;
    };
    let kind = table.shift_remove("type");
    let plain = match kind.as_ref().and_then(Value::as_str) {
        Some("none") => ApplicationSection::None,
        Some("echo") => ApplicationSection::Echo,
        Some("webhook") => {
            let webhook: Webhook = reader.read(PATH, Value::Object(table))?;
            for (key, why) in webhook.problems() {
                reader.problem(join(PATH, &key), why);
            }
            if let Some(retry) = &webhook.retry {
                flow_check::retry(retry, &join(PATH, "retry"), reader);
            }
            if let (Some(own), Some(general)) = (webhook.breaker, breaker) {
                flow_check::breaker(own.over(general), &join(PATH, "breaker"), reader);
            }
            return Some(ApplicationSection::Webhook(Box::new(webhook)));
        }
        Some(unknown) => {
            let hint = suggest::hint(unknown, ["none", "echo", "webhook"]);
            reader.unreadable("application.type", format!("unknown type; {TYPES}{hint}"));
            return None;
        }
        None => {
            reader.unreadable("application.type", format!("must be a string; {TYPES}"));
            return None;
        }
    };
    for key in table.keys() {
        let why = "unknown key; with this type, only `type` is allowed here (type = \"webhook\" allows more)";
        reader.problem(join(PATH, key), why);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_address_may_hold_the_backend_but_not_in_its_host() {
        let address = |url: &str| {
            let webhook: Webhook = serde_json::from_value(json!({"url": url, "format": "form"})).unwrap();
            webhook.address()
        };
        for (url, made) in [
            ("http://h/hook", "http://h/hook"),
            ("http://h/backend/{{ backend }}/", "http://h/backend/my-kannel/"),
            ("https://h:1?t=hush&b={{backend}}", "https://h:1/?t=hush&b=my-kannel"),
            ("http://h/{% if backend == 'vumi' %}v{% else %}k{% endif %}", "http://h/k"),
        ] {
            let address = address(url).unwrap();
            assert_eq!(address.of(&"my-kannel".parse().unwrap()).unwrap().as_str(), made);
            assert_eq!(format!("{address:?}"), "[REDACTED]");
        }
        for (url, why) in [
            ("http://{{ backend }}/", "host"),
            ("http://{{ backend }}@h/", "host"),
            ("http://h/{{ identity }}", "a template can use backend"),
            ("http://h/{{ backend | nonsense }}", "unknown filter nonsense"),
            ("http://h/{{ backend / 2 }}", "the template failed"),
            ("http://u@h/{{ backend }}", "auth"),
            ("ftp://h/", "https"),
        ] {
            let refused = address(url).unwrap_err();
            assert!(refused.contains(why), "{url}: {refused}");
        }
    }
}
