//! How messages are sent through a backend: `[backends.NAME.send]`.

mod answer;
mod body;
mod results;

use super::{
    codec::Codec,
    field::Pattern,
    provider_tls::ProviderTls,
    send_auth::SendAuth,
    template::{Template, UrlTemplate, XmlTemplate},
};
pub use answer::{AnswerBody, AnswerPart, KnownFailure, StatusPattern, Success};
pub use body::{FormTemplate, JsonTemplate};
use indexmap::IndexMap;
use postern_shared::value::{HeaderName, Secret, Span};
pub use results::{KnownValue, Results};
use serde::Deserialize;
use std::time::Duration;

/// The request that sends a message, and what its answer means.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// The URL of the request.
    pub url: UrlTemplate,
    /// The method.
    #[serde(default)]
    pub method: SendMethod,
    /// Parameters in the URL.
    #[serde(default)]
    pub query: IndexMap<String, FormTemplate>,
    /// Parameters in an urlencoded body.
    #[serde(default)]
    pub form: IndexMap<String, FormTemplate>,
    /// A JSON object or a JSON list as the body. `None`: the body is not JSON.
    #[serde(default, deserialize_with = "body::of_json")]
    pub json: Option<JsonTemplate>,
    /// XML as the body. `None`: the body is not XML.
    pub xml: Option<XmlTemplate>,
    /// A template that makes a table of default parameters. They are sent in the same place as the parameters
    /// above, before them, unless one of those has the same name.
    pub defaults: Option<Template>,
    /// What encodes the text for the name `encoded` in templates. Absent: templates cannot use that name.
    pub codec: Option<Codec>,
    /// Further headers.
    #[serde(default)]
    pub headers: IndexMap<HeaderName, Template>,
    /// How requests authenticate themselves.
    pub auth: Option<SendAuth>,
    /// The CA to trust and the client certificate. `None`: the system's CAs, and no client certificate.
    pub tls: Option<ProviderTls>,
    /// The URL of the proxy for requests, with its user and password. `None`: requests go directly to the
    /// provider.
    pub proxy: Option<Secret>,
    /// How many recipients one request has.
    #[serde(default)]
    pub recipients: Recipients,
    /// The pattern that the whole of an identity must match to be one recipient. Absent: any identity is.
    pub identity: Option<Pattern>,
    /// The separator between the identities of a joined request; no identity may contain it. Absent: a comma,
    /// which identities may contain if requests are not joined.
    pub separator: Option<String>,
    /// The most identities in one queued message; for `joined` and `list`, in one request. 1 to 10,000.
    #[serde(default = "hundred")]
    pub batch: usize,
    /// Where the answer holds the provider's id of the message.
    pub external_id: Option<AnswerPart>,
    /// When an answer means that the provider accepted the message.
    #[serde(default)]
    pub success: Success,
    /// The meanings of particular answers that are not a success; the first that matches counts. Any other
    /// answer is judged by its status.
    #[serde(default)]
    pub failures: Vec<KnownFailure>,
    /// How a successful answer reports on each recipient. `None`: all recipients of a request have the same
    /// outcome.
    pub results: Option<Results>,
    /// Where an answer that asks for a later attempt holds the time to wait, in seconds. `None`, or if the
    /// answer does not hold it: the header `Retry-After` counts.
    pub retry_after: Option<AnswerPart>,
    /// How long connecting, sending and the whole answer may take; at most 10 minutes.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
    /// What to do after a request that was written but never answered.
    #[serde(default)]
    pub unanswered: WhenUncertain,
    /// What to do after an answer that is neither a `success` nor an error: a 2xx with another body or status.
    #[serde(default)]
    pub not_accepted: WhenUncertain,
}

/// The longest timeout of a request: RabbitMQ requeues what was not settled after 30 minutes.
const MAX_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// The default of `batch`.
pub(super) fn hundred() -> usize {
    100
}

fn ten_seconds() -> Span {
    Span(Duration::from_secs(10))
}

impl Send {
    /// The separator between the identities of a joined request.
    pub fn separator(&self) -> &str {
        self.separator.as_deref().unwrap_or(",")
    }

    /// Whether a request has a body.
    pub fn has_body(&self) -> bool {
        self.json.is_some() || self.xml.is_some() || !self.form.is_empty()
    }

    /// The source of every template, with its key below `send`.
    pub fn sources(&self) -> Vec<(String, &str)> {
        let mut all = vec![("url".to_owned(), self.url.source())];
        let defaults = self.defaults.iter().map(|template| ("defaults".to_owned(), template.source()));
        all.extend(defaults);
        for (table, templates) in [("query", &self.query), ("form", &self.form)] {
            templates.iter().for_each(|(name, value)| value.sources(format!("{table}.{name}"), &mut all));
        }
        if let Some(json) = &self.json {
            json.sources("json".to_owned(), &mut all);
        }
        all.extend(self.xml.iter().map(|xml| ("xml".to_owned(), xml.source())));
        let headers =
            self.headers.iter().map(|(name, value)| (format!("headers.{}", name.0), value.source()));
        all.extend(headers);
        all.extend(self.auth.iter().flat_map(SendAuth::sources));
        all
    }

    /// Every secret in this table, with its key below `send`.
    pub fn secrets(&self) -> impl Iterator<Item = (String, &Secret)> {
        let auth = self.auth.iter().flat_map(SendAuth::secrets);
        let auth = auth.map(|(key, secret)| (format!("auth.{key}"), secret));
        auth.chain(self.proxy.iter().map(|proxy| ("proxy".to_owned(), proxy)))
    }

    /// The mistakes that the types do not rule out: a key below `send`, and what is wrong.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let mut check = |key: &str, is_wrong: bool, why: &str| {
            if is_wrong {
                wrong.push((key.to_owned(), why.to_owned()));
            }
        };
        const ONE_BODY: &str = "a request has one body: json, form or xml";
        let has_form = !self.form.is_empty();
        check("json", self.json.is_some() && has_form, ONE_BODY);
        check("xml", self.xml.is_some() && (has_form || self.json.is_some()), ONE_BODY);
        check("method", self.has_body() && self.method == SendMethod::Get, "a GET has no body: use query");
        let is_table = self.xml.is_none() && !matches!(self.json, Some(JsonTemplate::List(_)));
        check(
            "defaults",
            self.defaults.is_some() && !is_table,
            "applies only to a body that is a table: remove it",
        );
        check(
            "batch",
            !(1..=postern_shared::message::MAX_IDENTITIES).contains(&self.batch),
            "must be 1 to 10000",
        );
        check(
            "separator",
            self.separator.as_deref() == Some(""),
            "must not be empty: recipients would run together",
        );
        check("timeout", self.timeout.0.is_zero(), "must be longer than 0");
        check("timeout", self.timeout.0 > MAX_TIMEOUT, "must be at most 10m");
        check("success.status", self.success.status.is_empty(), "must name at least one status");
        let success = &self.success;
        check(
            "success.is",
            success.at.is_some() && success.is.is_none(),
            "is missing: list the values at success.at that mean success",
        );
        check(
            "success.at",
            success.at.is_none() && success.is.is_some(),
            "is missing: say where the answer has the values of success.is",
        );
        let own = |name: &HeaderName| self.auth.is_some() && name.0 == "authorization";
        check(
            "headers",
            self.headers.keys().any(own),
            "auth sets Authorization already: use only one of them",
        );
        let plain =
            self.url.source().starts_with("http://") && !matches!(self.auth, Some(SendAuth::Oauth2(_)));
        check("tls", self.tls.is_some() && plain, "has no effect: url begins with http://");
        wrong.extend(self.auth.iter().flat_map(SendAuth::problems));
        wrong.extend(self.tls.iter().flat_map(ProviderTls::problems));
        wrong
    }
}

/// The method of a request that sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SendMethod {
    /// GET, which has no body.
    Get,
    /// POST, the default.
    #[default]
    Post,
    /// PUT, which Vumi Go uses.
    Put,
    /// PATCH, which some REST APIs use.
    Patch,
}

impl SendMethod {
    /// The method's name in HTTP.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
        }
    }
}

/// How many recipients one request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recipients {
    /// One request for each identity.
    #[default]
    Each,
    /// One request for up to `batch` identities; `identity` and `identities` are one text.
    Joined,
    /// One request for up to `batch` identities; `identities` is a list: in JSON an array, elsewhere a repeated
    /// parameter.
    List,
}

/// What to do after a request that the provider may or may not have accepted. Submitting an SMS is not idempotent:
/// with a retry it may be sent twice, without a retry perhaps not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenUncertain {
    /// Retry: the message is sent at least once.
    #[default]
    Retry,
    /// Dead-letter: the message is sent at most once.
    Fail,
}
