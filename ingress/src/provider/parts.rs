//! Which part of a request is messages, and which is delivery reports.

use super::{choice::Choice, refusal::Refusal};
use crate::forms::{Errors, Request};
use actix_web::http::{Method, header::HeaderValue};
use postern_config::backend::{
    challenge::Challenge,
    each::{Item, NoItems},
    expression::{NotEvaluated, RequestValues, When, WhenScope},
};
use postern_service::telemetry::LineLimit;
use postern_shared::{message::BackendName, value::Settings};
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    cell::OnceCell,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// After how many errors of a batch's items no more are collected.
const MAX_ERRORS: usize = 20;

/// A request that was read, and is about to become messages and reports.
pub(super) struct Incoming<'r> {
    pub(super) backend: &'r BackendName,
    /// The backend's settings, for `when`.
    pub(super) settings: &'r Settings,
    /// The request as a whole.
    pub(super) whole: &'r Request<'r>,
    /// The parameters of the query.
    pub(super) query: &'r Request<'r>,
    /// The most messages and reports that the request may bring.
    pub(super) max_items: usize,
    /// Limits the log lines about expressions that cannot be evaluated.
    pub(super) lines: &'r LineLimit,
    /// The values that `when` can use, made when the first one is evaluated.
    pub(super) scope: OnceCell<WhenScope>,
}

impl<'r> Incoming<'r> {
    /// Whether the `when` of `choice` is true for the request. Also true if there is none, or if it is about
    /// items.
    ///
    /// # Errors
    /// It cannot be evaluated.
    pub(super) fn holds(&self, choice: &Choice) -> Result<bool, Errors> {
        choice.when.as_ref().map_or(Ok(true), |when| self.is_so(when, choice.when_key))
    }

    /// Whether `when`, the value of `key`, is true for the request. Also true if it is about items.
    fn is_so(&self, when: &When, key: &str) -> Result<bool, Errors> {
        if when.chooses_items() { Ok(true) } else { self.evaluate(key, |scope| when.holds(scope)) }
    }

    fn evaluate(
        &self,
        key: &str,
        expression: impl FnOnce(&WhenScope) -> Result<bool, NotEvaluated>,
    ) -> Result<bool, Errors> {
        let scope = self.scope.get_or_init(|| WhenScope::from(&self.values()));
        let why = match catch_unwind(AssertUnwindSafe(|| expression(scope))) {
            Ok(Ok(yes)) => return Ok(yes),
            Ok(Err(why)) => why.to_string(),
            Err(_) => "the evaluation panicked".to_owned(),
        };
        self.note_not_evaluated(key, &why);
        Err(Errors::whole(format!("{key} cannot be evaluated: {why}")))
    }

    fn note_not_evaluated(&self, key: &str, why: &str) {
        if self.lines.admits(None) {
            tracing::warn!(backend = %self.backend, key, error = why, "expression cannot be evaluated, so the request, the item or the handshake is not accepted: correct it");
        }
    }

    /// The body of the answer, if the request is `challenge`.
    pub(super) fn challenged(&self, challenge: &Challenge) -> Option<String> {
        if !self.is_so(challenge.when(), "receive.challenge.when").unwrap_or(false) {
            return None;
        }
        let reply = challenge.reply(&self.values());
        reply.map_err(|why| self.note_not_evaluated("receive.challenge.reply", &why.to_string())).ok()
    }

    fn values(&self) -> RequestValues<'_> {
        let Self { whole, query, .. } = self;
        let body = match (&whole.json, whole.method) {
            (Some(json), _) => Cow::Borrowed(json.as_ref()),
            // The parameters of a GET are those of the query.
            (None, &Method::GET) => Cow::Owned(Value::Object(Map::new())),
            (None, _) => Cow::Owned(Value::Object(whole.texts())),
        };
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers =
            whole.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value).into()));
        let (query, headers) = (query.texts(), headers.collect());
        RequestValues { body, query, headers, settings: self.settings.expose() }
    }

    /// The part of the request that `each` names; if `when` is about items, only the items for which it is
    /// true. An item for which it cannot be evaluated is invalid: the error goes into `invalid`. Without
    /// `each`, the request as a whole.
    ///
    /// # Errors
    /// The reason why the items are refused.
    pub(super) fn part(&self, choice: &Choice, invalid: &mut InvalidItems) -> Result<Part<'r>, Refusal> {
        let (key, each) = (choice.each_key, choice.each.as_ref());
        let Some(each) = each else { return Ok(Part::Whole) };
        let whole = self.whole;
        let Some(json) = &whole.json else { return Ok(Part::Missing(format!("is not JSON ({key})"))) };
        match (each.items(json, self.max_items), each.path()) {
            (Ok(Some(mut items)), _) => {
                if let Some(when) = choice.when.as_ref().filter(|when| when.chooses_items()) {
                    items.retain(|Item { place, value }| {
                        let chosen = self.evaluate(choice.when_key, |scope| when.holds_of(value, scope));
                        chosen.unwrap_or_else(|errors| {
                            invalid.add(errors.within(place));
                            false
                        })
                    });
                }
                Ok(Part::Items(items))
            }
            (Ok(None), "") => Ok(Part::Missing(format!("is empty ({key})"))),
            (Ok(None), path) => Ok(Part::Missing(format!("has no {path} ({key})"))),
            (Err(why), _) => Err(Refusal::no_items(why, key)),
        }
    }

    /// The refusal of a request with too many items.
    pub(super) fn too_many(&self) -> Refusal {
        Refusal::TooMuch(NoItems::TooMany(self.max_items).to_string())
    }
}

/// The part of a request that is messages, or the one that is reports.
#[derive(Debug)]
pub(super) enum Part<'r> {
    /// `when` is not true.
    None,
    /// `each` leads to nothing. Holds what the body lacks.
    Missing(String),
    /// The request as a whole is one message or report.
    Whole,
    /// The items of the body that are one message or report each; may be empty.
    Items(Vec<Item<'r>>),
}

impl Part<'_> {
    /// Whether the request does not have the part. An empty list counts as a part.
    pub(super) fn is_nothing(&self) -> bool {
        matches!(self, Self::None | Self::Missing(_))
    }

    /// What the body lacks, if `each` leads to nothing.
    pub(super) fn missing(&self) -> Option<&str> {
        match self {
            Self::Missing(what) => Some(what),
            _ => None,
        }
    }

    /// How many messages or reports the part has.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::None | Self::Missing(_) => 0,
            Self::Whole => 1,
            Self::Items(items) => items.len(),
        }
    }

    /// Converts each message or report with `work`, which gets the place of an item and the request that
    /// stands for it. An invalid item does not stop the others: its errors go into `invalid`.
    ///
    /// # Errors
    /// The reason why the whole request is refused.
    pub(super) fn convert<T>(
        self,
        incoming: &Incoming<'_>,
        invalid: &mut InvalidItems,
        mut work: impl FnMut(Option<&str>, &Request<'_>) -> Result<T, Refusal>,
    ) -> Result<Vec<T>, Refusal> {
        let items = match self {
            Self::None | Self::Missing(_) => return Ok(Vec::new()),
            Self::Whole => return work(None, incoming.whole).map(|one| vec![one]),
            Self::Items(items) => items,
        };
        let mut taken = Vec::with_capacity(items.len());
        for Item { place, value } in items {
            let Some(request) = incoming.whole.item(value, incoming.query) else { continue };
            match work(Some(&place), &request) {
                Ok(one) => taken.push(one),
                Err(Refusal::Invalid(wrong)) => invalid.add(wrong.within(&place)),
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(taken)
    }
}

/// The invalid items of a request.
#[derive(Debug, Default)]
pub(crate) struct InvalidItems {
    /// The number of invalid items.
    pub(crate) count: usize,
    /// What is wrong with the first invalid items.
    pub(crate) errors: Errors,
}

impl InvalidItems {
    fn add(&mut self, errors: Errors) {
        self.count += 1;
        if self.errors.len() < MAX_ERRORS {
            self.errors.extend(errors);
        }
    }
}
