//! How one sends through a backend: `[backends.NAME.send]`.

use super::{
    codec::Codec,
    field::Pattern,
    provider_tls::ProviderTls,
    send_auth::SendAuth,
    template::{NAMES, Template, UrlTemplate},
};
use indexmap::IndexMap;
use postern_shared::{
    error::FailureClass,
    read::{with_exact_numbers, without_lone_surrogates},
    value::{HeaderName, OneOrMany, Secret, Span},
};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use std::time::Duration;

/// The request that sends a message, and what its answer means.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// Where to.
    pub url: UrlTemplate,
    /// The method.
    #[serde(default)]
    pub method: SendMethod,
    /// Parameters in the URL.
    #[serde(default)]
    pub query: IndexMap<String, Template>,
    /// Parameters in an urlencoded body.
    #[serde(default)]
    pub form: IndexMap<String, Template>,
    /// A JSON object as the body.
    #[serde(default)]
    pub json: IndexMap<String, JsonTemplate>,
    /// Parameters that come first, unless those above have the same name: a template that makes a
    /// table. They stand where those above do.
    pub defaults: Option<Template>,
    /// What encodes the text, as the templates' `encoded`. Absent: there is no such name.
    pub codec: Option<Codec>,
    /// Further headers.
    #[serde(default)]
    pub headers: IndexMap<HeaderName, Template>,
    /// How requests prove whose they are.
    pub auth: Option<SendAuth>,
    /// Whose certificates are trusted, and which one is shown. `None`: the system's, and none.
    pub tls: Option<ProviderTls>,
    /// The URL of the proxy that requests go through, with its user and password. `None`: they go directly.
    pub proxy: Option<Secret>,
    /// How many recipients one request has.
    #[serde(default)]
    pub recipients: Recipients,
    /// Which identities are one recipient: the whole must match. Absent: any.
    pub identity: Option<Pattern>,
    /// What stands between the identities of a joined request; no identity may contain it. Absent: a
    /// comma, which identities may contain if requests are not joined.
    pub separator: Option<String>,
    /// The most identities in one queued message; for `joined` and `list`, in one request. 1 to 10,000.
    #[serde(default = "hundred")]
    pub batch: usize,
    /// Where the answer holds the provider's id of the message.
    pub external_id: Option<AnswerPart>,
    /// When an answer means that the provider took the message over.
    #[serde(default)]
    pub success: Success,
    /// What particular answers mean that are no success; the first that matches counts. Any other
    /// is judged by its status.
    #[serde(default)]
    pub failures: Vec<KnownFailure>,
    /// How long connecting, sending and the whole answer may take; at most 10 minutes.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
    /// What a request that was written and never answered leads to.
    #[serde(default)]
    pub unanswered: WhenUncertain,
    /// What an answer leads to that is neither the `success` nor an error: a 2xx whose body, or whose status,
    /// is another.
    #[serde(default)]
    pub not_accepted: WhenUncertain,
}

/// The longest time-out of a request: RabbitMQ takes back after 30 minutes what was not settled.
const MAX_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// The default of `batch`.
pub(super) fn hundred() -> usize {
    100
}

fn ten_seconds() -> Span {
    Span(Duration::from_secs(10))
}

impl Send {
    /// What stands between the identities of a joined request.
    pub fn separator(&self) -> &str {
        self.separator.as_deref().unwrap_or(",")
    }

    /// Every template, as it was written, with its key below `send`.
    pub fn sources(&self) -> Vec<(String, &str)> {
        let mut all = vec![("url".to_owned(), self.url.source())];
        let defaults = self.defaults.iter().map(|template| ("defaults".to_owned(), template.source()));
        all.extend(defaults);
        for (table, templates) in [("query", &self.query), ("form", &self.form)] {
            let named = templates.iter().map(|(name, value)| (format!("{table}.{name}"), value.source()));
            all.extend(named);
        }
        for (name, value) in &self.json {
            value.sources(format!("json.{name}"), &mut all);
        }
        let headers =
            self.headers.iter().map(|(name, value)| (format!("headers.{}", name.0), value.source()));
        all.extend(headers);
        all.extend(self.auth.iter().flat_map(SendAuth::sources));
        all
    }

    /// Everything in it that is secret, with its key below `send`.
    pub fn secrets(&self) -> impl Iterator<Item = (String, &Secret)> {
        let auth = self.auth.iter().flat_map(SendAuth::secrets);
        let auth = auth.map(|(key, secret)| (format!("auth.{key}"), secret));
        auth.chain(self.proxy.iter().map(|proxy| ("proxy".to_owned(), proxy)))
    }

    /// What is wrong beyond the types: a key below `send`, and why.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let mut check = |key: &str, is_wrong: bool, why: &str| {
            if is_wrong {
                wrong.push((key.to_owned(), why.to_owned()));
            }
        };
        check("json", !self.json.is_empty() && !self.form.is_empty(), "a request has one body: json or form");
        let has_body = !self.json.is_empty() || !self.form.is_empty();
        check("method", has_body && self.method == SendMethod::Get, "a GET has no body: use query");
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
        let own = |name: &HeaderName| self.auth.is_some() && name.0 == "authorization";
        check("headers", self.headers.keys().any(own), "Authorization is what auth sets: use one of them");
        let plain =
            self.url.source().starts_with("http://") && !matches!(self.auth, Some(SendAuth::Oauth2(_)));
        check("tls", self.tls.is_some() && plain, "has no use: url begins with http://");
        wrong.extend(self.auth.iter().flat_map(SendAuth::problems));
        wrong.extend(self.tls.iter().flat_map(ProviderTls::problems));
        wrong
    }
}

/// The method of a request that sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SendMethod {
    /// Without a body.
    Get,
    /// The default.
    #[default]
    Post,
    /// Vumi Go's.
    Put,
    /// Some REST APIs'.
    Patch,
}

impl SendMethod {
    /// The name on the wire.
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
    /// One request for up to `batch`; `identity` and `identities` are one text.
    Joined,
    /// One request for up to `batch`; `identities` is a list: in JSON an array, elsewhere a
    /// parameter repeated.
    List,
}

/// What a request leads to that the provider may have taken over. Submitting an SMS is not idempotent:
/// trying again may send it twice, not trying again may not send it at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WhenUncertain {
    /// Another attempt: at least once.
    #[default]
    Retry,
    /// The dead letters: at most once.
    Fail,
}

/// An answer whose meaning the provider's documentation gives.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFailure {
    /// Where the answer holds the provider's error.
    pub at: AnswerPart,
    /// The errors that are meant.
    pub is: OneOrMany,
    /// What they mean for trying again.
    pub class: FailureClass,
    /// The code in the report; absent: the provider's error.
    pub code: Option<String>,
}

/// When an answer means that the provider took the message over: both hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Success {
    /// The answer's status is one of these: `200`, or a whole hundred such as `2xx`.
    pub status: Vec<StatusPattern>,
    /// The answer's body matches; empty: any body.
    pub body: Option<Pattern>,
}

impl Default for Success {
    fn default() -> Self {
        Self { status: vec![StatusPattern { from: 200, to: 299 }], body: None }
    }
}

/// One status, or a hundred of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusPattern {
    from: u16,
    to: u16,
}

impl StatusPattern {
    /// Whether `status` is one of them.
    pub fn matches(self, status: u16) -> bool {
        (self.from..=self.to).contains(&status)
    }
}

impl<'de> Deserialize<'de> for StatusPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match Value::deserialize(deserializer)? {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text,
            _ => String::new(),
        };
        let hundred = text.strip_suffix("xx").and_then(|digit| digit.parse::<u16>().ok());
        let (from, to) = match (hundred, text.parse()) {
            (Some(digit), _) => (digit * 100, digit * 100 + 99),
            (None, Ok(status)) => (status, status),
            _ => (0, 0),
        };
        if (100..=599).contains(&from) {
            Ok(Self { from, to })
        } else {
            Err(de::Error::custom("must be a status such as \"200\" or \"2xx\""))
        }
    }
}

/// Where an answer holds a value, such as the provider's id: a JSON pointer (it begins with `/`)
/// or a regex with one group.
#[derive(Debug, Clone)]
pub enum AnswerPart {
    /// RFC 6901, into a JSON answer.
    Pointer(String),
    /// The first group is the value.
    Regex(regex::Regex),
}

impl AnswerPart {
    /// The value in `answer`; `None` where there is none.
    pub fn find(&self, answer: &str) -> Option<String> {
        match self {
            Self::Pointer(pointer) => {
                let answer = without_lone_surrogates(answer);
                match serde_json::from_str::<Value>(&with_exact_numbers(&answer)).ok()?.pointer(pointer)? {
                    Value::String(id) if !id.is_empty() => Some(id.clone()),
                    Value::Number(id) => Some(id.to_string()),
                    _ => None,
                }
            }
            Self::Regex(regex) => Some(regex.captures(answer)?.get(1)?.as_str().to_owned()),
        }
    }
}

impl<'de> Deserialize<'de> for AnswerPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.starts_with('/') {
            return Ok(Self::Pointer(text));
        }
        match regex::Regex::new(&text) {
            Ok(regex) if regex.captures_len() == 2 => Ok(Self::Regex(regex)),
            _ => Err(de::Error::custom(
                "must be a JSON pointer such as \"/id\", or a regular expression with one group",
            )),
        }
    }
}

/// A JSON value whose texts are templates; names are as they are.
#[derive(Debug, Clone)]
pub enum JsonTemplate {
    /// A text.
    Text(Template),
    /// A number or a boolean.
    Plain(Value),
    /// An array.
    List(Vec<JsonTemplate>),
    /// An object.
    Object(IndexMap<String, JsonTemplate>),
}

impl<'de> Deserialize<'de> for JsonTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(Value::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonTemplate {
    /// Adds each template of it, which stands at `key`.
    pub(super) fn sources<'s>(&'s self, key: String, all: &mut Vec<(String, &'s str)>) {
        match self {
            Self::Text(template) => all.push((key, template.source())),
            Self::Plain(_) => {}
            Self::List(items) => {
                let items = items.iter().enumerate();
                items.for_each(|(index, item)| item.sources(format!("{key}[{index}]"), all));
            }
            Self::Object(table) => {
                table.iter().for_each(|(name, value)| value.sources(format!("{key}.{name}"), all));
            }
        }
    }

    fn parse(value: Value) -> Result<Self, String> {
        Self::seeing(value, &NAMES)
    }

    /// As it is in a `send` table, with templates that see nothing but `names`.
    ///
    /// # Errors
    /// A text for the user.
    pub(super) fn seeing(value: Value, names: &[&str]) -> Result<Self, String> {
        Ok(match value {
            Value::String(source) => Self::Text(Template::seeing(&source, names)?),
            Value::Array(items) => {
                let items = items.into_iter().map(|item| Self::seeing(item, names));
                Self::List(items.collect::<Result<_, _>>()?)
            }
            Value::Object(table) => {
                let parse = |(name, value)| Self::seeing(value, names).map(|value| (name, value));
                Self::Object(table.into_iter().map(parse).collect::<Result<_, String>>()?)
            }
            plain => Self::Plain(plain),
        })
    }
}
