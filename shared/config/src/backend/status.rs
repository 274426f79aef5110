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

/// Our names of what a delivery report says.
pub const STATUS_FIELDS: [&str; 7] =
    ["message_id", "external_id", "identity", "state", "code", "detail", "at"];

/// How a backend's delivery reports are read. They come to `/backends/NAME/status` and, with `when`, to
/// `/backends/NAME` too.
///
/// | our name | what it is |
/// | --- | --- |
/// | `message_id` | our own id of the message, where the callback's address carried it |
/// | `external_id` | the provider's id of it; one of the two must be there |
/// | `identity` | whom the report is about; not every provider says |
/// | `state` | the provider's word for what became of it, a key of `states` |
/// | `code`, `detail` | why it was not delivered |
/// | `at` | when, by the provider's clock; what is no time, or lies in 1970, counts as absent |
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Status {
    /// The HTTP methods taken; any other is answered 405.
    pub methods: Vec<Method>,
    /// Our name of a parameter → the request's, or several of which the first that is there and
    /// not blank counts. One that begins with `/` is a JSON pointer (RFC 6901). Absent: the same
    /// name. What the body, or with `each` the item, does not have is looked for in the query.
    pub params: IndexMap<String, OneOrMany>,
    /// The lists in a JSON or XML body of which every item is one report, as in `receive`.
    pub each: Option<Each>,
    /// Which requests bring reports, to `/backends/NAME` as well as to `/backends/NAME/status`. `None`:
    /// all those to `/backends/NAME/status`.
    pub when: Option<When>,
    /// The state of a report that has no word for it: of a provider whose reports all say the same. `None`: such a
    /// report is answered 400.
    pub state: Option<State>,
    /// The provider's word → our state. Upper and lower case are the same.
    pub states: IndexMap<String, State>,
    /// What becomes of a report with any other word.
    pub other_states: OtherStates,
    /// What the body of a request to `/backends/NAME/status` is, whatever its `Content-Type` says. `None`:
    /// what that says.
    pub format: Option<BodyFormat>,
    /// The texts within the body of a request to `/backends/NAME/status` that are bodies of their own, as in
    /// `receive`.
    pub nested: Nested,
    /// How the provider writes dates. `None`: as `receive.dates` says.
    pub dates: Option<Dates>,
    /// The answer to a report that was stored.
    pub reply: Reply,
}

/// What becomes of a report whose word for the state is not in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherStates {
    /// It is a report with the state `unknown`, and the word as its code.
    Report,
    /// It is answered 400: the words are ours, and the provider only hands them back.
    Refuse,
    /// It is a report with this state: the provider has too many words for it to list them all.
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

/// The state that the provider's `word` means by `states`; `None` if a report with it is refused.
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
    /// What the request calls the parameter that we call `name`.
    pub fn param<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        super::receive::renamed(&self.params, name)
    }

    /// The state that the provider's `word` means; `None` if a report with it is refused.
    pub fn state(&self, word: &str) -> Option<State> {
        state_of(&self.states, self.other_states, word)
    }

    /// What is wrong beyond the types: a key below `status`, and why.
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

    /// How several reports stand in one body.
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
