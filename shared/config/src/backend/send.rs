//! How one sends through a backend: `[backends.NAME.send]`.

use super::{
    answer::{AnswerPart, KnownFailure, Results},
    codec::Codec,
    field::Pattern,
    template::{Template, UrlTemplate},
};
use indexmap::IndexMap;
use postern_shared::value::{HeaderName, Secret, Settings, Span};
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
    /// The `Authorization` header.
    pub auth: Option<Auth>,
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
    /// What a successful answer says of each recipient. `None`: one request has one outcome.
    pub results: Option<Results>,
    /// Where an answer that asks for a later attempt holds how long to wait, in seconds. `None`, or if it is not
    /// there: the header `Retry-After` says it.
    pub retry_after: Option<AnswerPart>,
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
        all
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

/// The `Authorization` header.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Auth {
    /// RFC 7617.
    Basic {
        /// Without a colon.
        username: Secret,
        /// The password.
        password: Secret,
    },
    /// RFC 6750.
    Bearer(Secret),
}

impl Auth {
    /// It with the settings that it stands for; `None` where one of them is not there: then requests
    /// have no `Authorization`.
    pub fn resolved(&self, settings: &Settings) -> Option<Self> {
        Some(match self {
            Self::Basic { username, password } => {
                Self::Basic { username: username.resolved(settings)?, password: password.resolved(settings)? }
            }
            Self::Bearer(token) => Self::Bearer(token.resolved(settings)?),
        })
    }
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
    fn sources<'s>(&'s self, key: String, all: &mut Vec<(String, &'s str)>) {
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
        Ok(match value {
            Value::String(source) => Self::Text(Template::parse(&source)?),
            Value::Array(items) => Self::List(items.into_iter().map(Self::parse).collect::<Result<_, _>>()?),
            Value::Object(table) => {
                let parse = |(name, value)| Self::parse(value).map(|value| (name, value));
                Self::Object(table.into_iter().map(parse).collect::<Result<_, String>>()?)
            }
            plain => Self::Plain(plain),
        })
    }
}
