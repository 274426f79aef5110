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

/// The types, as errors list them.
const TYPES: &str = "allowed: \"none\", \"echo\", \"webhook\"";
/// The longest time-out of a webhook: RabbitMQ takes back after 30 minutes what was not settled.
const MAX_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Headers that a delivery has of its own, or that the HTTP client sets.
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
    /// Nobody here: the consumers of `postern.inbound`.
    None,
    /// The dispatcher, with the same text.
    Echo,
    /// An HTTP server, which the dispatcher calls.
    Webhook(Box<Webhook>),
}

/// `[application]` with `type = "webhook"`: where inbound messages are POSTed to.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// `http://…` or `https://…`, with `{{ backend }}` where the backend's name is to stand in its
    /// path or query. A secret: it may hold a token.
    pub url: Secret,
    /// What is POSTed.
    #[serde(default)]
    pub format: WebhookFormat,
    /// What deliveries are signed with: each of them, so that a receiver can change from one to
    /// the next. Needed for `json`.
    #[serde(default, rename = "secret")]
    pub secrets: SigningKeys,
    /// How long connecting, sending and the whole answer may take; at most 10 minutes.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
    /// Whether reports are delivered too. Absent: as `json` they are. As `form` they cannot be.
    pub reports: Option<bool>,
    /// Deliveries in flight, 1 to 2,000.
    #[serde(default = "sixty_four")]
    pub concurrency: u16,
    /// Further headers, the same in every delivery.
    #[serde(default)]
    pub headers: IndexMap<HeaderName, Secret>,
    /// The `Authorization` header.
    pub auth: Option<Auth>,
    /// Its own delays. `None`: those of `[retry]`.
    pub retry: Option<RetrySection>,
    /// When deliveries pause because the server is down; what it does not say is as `[breaker]` says.
    pub breaker: Option<BreakerTable>,
}

/// What a webhook is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookFormat {
    /// The messages as they stand in the queues.
    #[default]
    Json,
    /// `identity`, `text` and the fields, urlencoded: what RapidSMS's HTTP backend takes.
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
    /// Where messages of `backend` go.
    ///
    /// # Errors
    /// What the template makes is no URL of `http` or `https`; a text that does not hold it.
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
    /// Its address.
    ///
    /// # Errors
    /// Why it can be none.
    pub fn address(&self) -> Result<WebhookUrl, String> {
        let address = WebhookUrl(UrlTemplate::seeing(self.url.expose(), &["backend"])?);
        let url = address.made_for("any")?;
        if userinfo::has_user(url.as_str()) {
            return Err(userinfo::belongs_into("auth"));
        }
        Ok(address)
    }

    /// Its circuit breaker: its own over the `general` one.
    pub fn breaker_over(&self, general: BreakerSection) -> BreakerSection {
        self.breaker.map_or(general, |own| own.over(general))
    }

    /// Whether reports are delivered, too.
    pub fn wants_reports(&self) -> bool {
        self.reports.unwrap_or(self.format == WebhookFormat::Json)
    }

    /// What is wrong beyond the types: a key below `application`, and why.
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

/// Reads `[application]`: `type` decides which keys there may be. `breaker` is `[breaker]`, if that can be
/// read.
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
