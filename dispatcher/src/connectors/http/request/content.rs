//! Checks whether a request holds anything of its message's text.

use minijinja::Value;
use postern_config::backend::{
    send::Send as SendTable,
    template::{Template, uses},
};
use postern_shared::error::Failure;

/// The templates that put the message's text into a request, if none of them always does. If one does,
/// every request holds the text anyway.
#[derive(Debug)]
pub(super) struct TextTemplates(Vec<Template>);

impl TextTemplates {
    /// The templates of `table` that use the text. `None` if there are none, or if every request holds the
    /// text.
    pub(super) fn of(table: &SendTable) -> Option<Self> {
        let sources = table.sources();
        let used = |source: &str| {
            uses(source).into_iter().find(|used| ["text", "encoded"].contains(&&*used.path[0]))
        };
        let found = sources.iter().filter_map(|(key, source)| Some((key.as_str(), *source, used(source)?)));
        let chosen: Vec<_> = found.collect();
        if chosen.is_empty() || chosen.iter().any(|(key, _, used)| *key == "url" || !used.guarded) {
            return None;
        }
        Some(Self(chosen.into_iter().filter_map(|(_, source, _)| Template::parse(source).ok()).collect()))
    }

    /// Refuses the request with the values of `scope` if the message has a text and the request would hold
    /// nothing of it: the provider would send an empty message, which would count as sent.
    ///
    /// # Errors
    /// A failure of class `config`.
    pub(super) fn check(&self, scope: &Value) -> Result<(), Failure> {
        let is_empty = |value: Option<Value>| value.is_none_or(|value| value.as_str() == Some(""));
        let text = scope.get_attr("text").ok();
        let nothing = |template: &Template| template.evaluate(scope).is_ok_and(is_empty);
        if is_empty(text) || !self.0.iter().all(nothing) {
            return Ok(());
        }
        Err(Failure::config(
            "template",
            "send: the result of the templates is empty, and an empty message is not sent",
        ))
    }
}
