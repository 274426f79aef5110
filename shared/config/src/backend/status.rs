//! How a backend's delivery reports are read: `[backends.NAME.status]`.

use super::{
    batch::{Batch, name_problem},
    dates::Dates,
    each::Each,
    expression::When,
    http::{BodyFormat, Method, method_problem},
    nested::Nested,
    receive::{Reply, items_problem, reply_problem},
};
use indexmap::IndexMap;
use postern_shared::{message::State, value::OneOrMany};
use serde::{
    Deserialize, Deserializer,
    de::{self, IntoDeserializer as _},
};

/// Our names of the parts of a delivery report.
pub const STATUS_FIELDS: [&str; 7] =
    ["message_id", "external_id", "identity", "state", "code", "detail", "at"];

/// How a backend's delivery reports are read. They come to `/backends/NAME/status` and, with `when`, also to
/// `/backends/NAME`.
///
/// | our name | what it is |
/// | --- | --- |
/// | `message_id` | our own id of the message, if the callback's address or the request that sent it carried it; what follows the id is ignored |
/// | `external_id` | the provider's id of the message; one of the two ids must be there |
/// | `identity` | the recipient that the report is about; not every provider names one |
/// | `state` | the provider's word for the message's state, a key of `states` |
/// | `code`, `detail` | why the message was not delivered |
/// | `at` | the time, by the provider's clock; a value that is not a time, or a time in 1970, counts as absent |
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Status {
    /// The HTTP methods that are accepted; any other is answered 405.
    pub methods: Vec<Method>,
    /// Our name of a parameter → the request's name, or several names, of which the first that is there and not
    /// blank counts. A name that begins with `/` is a JSON pointer (RFC 6901). Absent: the same name. A
    /// parameter that the body, or with `each` the item, does not have is looked for in the query.
    pub params: IndexMap<String, OneOrMany>,
    /// The lists in a JSON or XML body whose items are one report each, as in `receive`.
    pub each: Option<Each>,
    /// Which requests to `/backends/NAME` and `/backends/NAME/status` bring reports. `None`: all requests to
    /// `/backends/NAME/status`.
    pub when: Option<When>,
    /// The state of a report without a word for it, if all reports of the provider mean the same. `None`: a report
    /// without a word is answered 400.
    pub state: Option<State>,
    /// The provider's word → our state. Upper and lower case are the same.
    pub states: IndexMap<String, State>,
    /// How a report with any other word is handled.
    pub other_states: OtherStates,
    /// The format that the body of a request to `/backends/NAME/status` is read as, regardless of its
    /// `Content-Type`. `None`: by its `Content-Type`.
    pub format: Option<BodyFormat>,
    /// The texts within the body of a request to `/backends/NAME/status` that are bodies of their own, as in
    /// `receive`.
    pub nested: Nested,
    /// How the provider writes dates. `None`: as `receive.dates` says.
    pub dates: Option<Dates>,
    /// The answer to a report that was stored.
    pub reply: Reply,
}

/// How a report is handled whose word for the state is not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherStates {
    /// It becomes a report with the state `unknown`, and with the word as its code.
    Report,
    /// It is answered 400. For providers that only return words which Postern sent them.
    Refuse,
    /// It becomes a report with this state. For providers with too many words for one state to list them all.
    State(State),
}

impl<'de> Deserialize<'de> for OtherStates {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        match word.as_str() {
            "report" => Ok(Self::Report),
            "refuse" => Ok(Self::Refuse),
            state => State::deserialize(state.into_deserializer()).map(Self::State).map_err(|_: D::Error| {
                de::Error::custom("must be \"report\", \"refuse\" or a state such as \"failed\"")
            }),
        }
    }
}

impl Default for Status {
    fn default() -> Self {
        Self {
            methods: vec![Method::Get, Method::Post],
            params: IndexMap::new(),
            each: None,
            when: None,
            format: None,
            state: None,
            nested: Nested::default(),
            dates: None,
            states: IndexMap::new(),
            other_states: OtherStates::Report,
            reply: Reply::default(),
        }
    }
}

/// The state that the provider's `word` means by `states` and `other`. `None` if a report with it is refused.
pub(super) fn state_of(states: &IndexMap<String, State>, other: OtherStates, word: &str) -> Option<State> {
    let known = states.iter().find(|(known, _)| known.to_lowercase() == word.to_lowercase());
    let other = match other {
        OtherStates::Report => Some(State::Unknown),
        OtherStates::Refuse => None,
        OtherStates::State(state) => Some(state),
    };
    states.get(word).or(known.map(|(_, state)| state)).copied().or(other)
}

impl Status {
    /// The request's names of the parameter that we call `name`.
    pub fn param<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        super::receive::renamed(&self.params, name)
    }

    /// The state that the provider's `word` means. `None` if a report with it is refused.
    pub fn state(&self, word: &str) -> Option<State> {
        state_of(&self.states, self.other_states, word)
    }

    /// The mistakes that the types do not rule out: a key below `status`, and what is wrong.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut wrong: Vec<_> =
            method_problem(&self.methods).into_iter().chain(reply_problem(&self.reply)).collect();
        for (name, theirs) in &self.params {
            if !STATUS_FIELDS.contains(&name.as_str()) {
                let why =
                    format!("is not a field of a delivery report: use one of {}", STATUS_FIELDS.join(", "));
                wrong.push((format!("params.{name}"), why));
            }
            wrong.extend(
                name_problem(theirs, self.each.is_some())
                    .map(|why| (format!("params.{name}"), why.to_owned())),
            );
        }
        if self.states.is_empty() && self.state.is_none() {
            let why = "must say what the provider's words mean, such as { DELIVRD = \"delivered\" }, or \
                       state must say what all reports mean";
            wrong.push(("states".to_owned(), why.to_owned()));
        }
        wrong.extend(self.batch().problems());
        wrong.extend(items_problem(self.when.as_ref(), self.each.as_ref()));
        wrong
    }

    /// How one body holds several reports.
    pub fn batch(&self) -> Batch<'_> {
        let Self { methods, params, each, format, nested, .. } = self;
        Batch {
            each: each.as_ref(),
            format: *format,
            nested,
            methods,
            params,
            example: "{ external_id = \"/id\", state = \"/status\" }",
        }
    }
}
