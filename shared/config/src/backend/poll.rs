//! How a provider that reports nothing by itself is asked: `[backends.NAME.poll]`.

use super::{
    send::{AnswerPart, FormTemplate, JsonTemplate, Send, SendMethod, Success},
    status::{OtherStates, Status, state_of},
    template::{Template, UrlTemplate},
};
use indexmap::IndexMap;
use postern_shared::{
    message::State,
    value::{HeaderName, MAX_CONCURRENCY, Span},
};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use std::time::Duration;

/// The names that the templates of a poll may use.
pub const POLL_NAMES: [&str; 5] = ["id", "backend", "identity", "external_id", "settings"];
/// Our names of what an answer may hold.
const ANSWERS: [&str; 3] = ["state", "code", "detail"];
/// The longest delay: a day.
const MAX_DELAY: Duration = Duration::from_secs(24 * 3600);

/// How the provider is asked what became of a message that it accepted, and how its answer is read. The answer
/// becomes a report, like a delivery report that the provider sends.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollTable {
    /// The URL of the request.
    pub url: PollUrl,
    /// The request's method. Default: GET.
    #[serde(default = "get")]
    pub method: SendMethod,
    /// Parameters in the URL.
    #[serde(default)]
    pub query: IndexMap<String, PollTemplate>,
    /// Parameters in an urlencoded body.
    #[serde(default)]
    pub form: IndexMap<String, PollTemplate>,
    /// A JSON object as the body.
    #[serde(default)]
    pub json: IndexMap<String, PollJson>,
    /// Further headers.
    #[serde(default)]
    pub headers: IndexMap<HeaderName, PollTemplate>,
    /// When the provider is asked: first this long after the message was sent, then this long after the question
    /// before, until the answer is final or no delay is left.
    #[serde(default = "delays")]
    pub delays: Vec<Span>,
    /// The most questions in flight. Default: 4.
    #[serde(default = "four")]
    pub concurrency: u16,
    /// Our name of a value → where the answer holds it.
    pub params: IndexMap<String, AnswerPart>,
    /// The provider's word → our state. Upper and lower case are the same. Empty: the words of `status` hold.
    #[serde(default)]
    pub states: IndexMap<String, State>,
}

/// A template over [`POLL_NAMES`].
#[derive(Debug, Clone)]
pub struct PollTemplate(Template);

/// The template of a URL over [`POLL_NAMES`].
#[derive(Debug, Clone)]
pub struct PollUrl(UrlTemplate);

/// A JSON value whose texts are templates over [`POLL_NAMES`].
#[derive(Debug, Clone)]
pub struct PollJson(JsonTemplate);

fn get() -> SendMethod {
    SendMethod::Get
}

fn four() -> u16 {
    4
}

/// The default delays: a minute at first, then longer and longer, for about two days in all.
fn delays() -> Vec<Span> {
    [60, 300, 1_800, 7_200, 21_600, 43_200, 86_400].map(Duration::from_secs).map(Span).into()
}

impl PollTable {
    /// The poll's request in the form of a `send` table. `send` is the backend's own `send` table.
    pub fn request(&self, send: &Send) -> Send {
        let texts = |all: &IndexMap<String, PollTemplate>| {
            let text = |(name, template): (&String, &PollTemplate)| {
                (name.clone(), FormTemplate::Text(template.0.clone()))
            };
            all.iter().map(text).collect()
        };
        let members = self.json.iter().map(|(name, value)| (name.clone(), value.0.clone()));
        Send {
            url: self.url.0.clone(),
            method: self.method,
            query: texts(&self.query),
            form: texts(&self.form),
            json: (!self.json.is_empty()).then(|| JsonTemplate::Object(members.collect())),
            xml: None,
            headers: self.headers.iter().map(|(name, value)| (name.clone(), value.0.clone())).collect(),
            defaults: None,
            codec: None,
            external_id: None,
            success: Success::default(),
            failures: Vec::new(),
            ..send.clone()
        }
    }

    /// The source of every template, with its key below `poll`.
    pub fn sources(&self) -> Vec<(String, &str)> {
        let mut all = vec![("url".to_owned(), self.url.source())];
        for (table, templates) in [("query", &self.query), ("form", &self.form)] {
            all.extend(templates.iter().map(|(name, value)| (format!("{table}.{name}"), value.0.source())));
        }
        for (name, value) in &self.json {
            value.0.sources(format!("json.{name}"), &mut all);
        }
        let headers = self.headers.iter();
        all.extend(headers.map(|(name, value)| (format!("headers.{}", name.0), value.0.source())));
        all
    }

    /// The state that the provider's `word` means. If this table has no states, those of `status` hold. An unknown
    /// word means [`State::Unknown`].
    pub fn state(&self, word: &str, status: Option<&Status>) -> State {
        let states =
            if self.states.is_empty() { status.map(|status| &status.states) } else { Some(&self.states) };
        states.and_then(|states| state_of(states, OtherStates::Report, word)).unwrap_or(State::Unknown)
    }

    /// The mistakes that the types do not rule out, in a backend with the tables `send` and `status`: a key below
    /// `poll`, and what is wrong.
    pub fn problems(&self, send: Option<&Send>, status: Option<&Status>) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let mut check = |key: &str, is_wrong: bool, why: &str| {
            if is_wrong {
                wrong.push((key.to_owned(), why.to_owned()));
            }
        };
        check(
            "url",
            send.is_none(),
            "has no effect without a send table with connector = \"http\": nothing is sent",
        );
        let has_id = send.is_some_and(|send| send.external_id.is_some());
        check(
            "url",
            send.is_some() && !has_id,
            "needs send.external_id: the provider is asked by its own id of the message",
        );
        check("json", !self.json.is_empty() && !self.form.is_empty(), "a request has one body: json or form");
        let has_body = !self.json.is_empty() || !self.form.is_empty();
        check("method", has_body && self.method == SendMethod::Get, "a GET has no body: use query");
        check("delays", self.delays.is_empty(), "must contain at least one delay, such as \"1m\"");
        check("delays", self.delays.len() > 100, "at most 100 delays are allowed");
        let out_of_bounds = |delay: &Span| delay.0 < Duration::from_millis(100) || delay.0 > MAX_DELAY;
        if let Some(index) = self.delays.iter().position(out_of_bounds) {
            check(&format!("delays[{index}]"), true, "must be 100ms to 24h");
        }
        check("concurrency", !(1..=MAX_CONCURRENCY).contains(&self.concurrency), "must be 1 to 2000");
        for name in self.params.keys().filter(|name| !ANSWERS.contains(&name.as_str())) {
            check(&format!("params.{name}"), true, "is not read from an answer: use state, code, detail");
        }
        let no_state = !self.params.contains_key("state");
        check("params.state", no_state, "is missing: say where an answer has the message's state");
        let no_words = self.states.is_empty() && status.is_none_or(|status| status.states.is_empty());
        let why = "must say what the provider's words mean, such as { Delivered = \"delivered\" }";
        check("states", no_words, why);
        wrong
    }
}

impl PollUrl {
    /// The URL's template as the configuration writes it.
    pub fn source(&self) -> &str {
        self.0.source()
    }
}

impl<'de> Deserialize<'de> for PollTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = String::deserialize(deserializer)?;
        Template::seeing(&source, &POLL_NAMES).map(Self).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for PollUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let source = String::deserialize(deserializer)?;
        UrlTemplate::seeing(&source, &POLL_NAMES).map(Self).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for PollJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        JsonTemplate::seeing(value, &POLL_NAMES).map(Self).map_err(de::Error::custom)
    }
}
