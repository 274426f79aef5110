//! Whether a request holds anything of what its message says.

use minijinja::Value;
use postern_config::backend::{
    send::Send as SendTable,
    template::{Template, uses},
};
use postern_shared::error::Failure;

/// The templates that put into a request what its message says, where none of them always does: the
/// others' requests hold the text anyway.
#[derive(Debug)]
pub(super) struct TextTemplates(Vec<Template>);

impl TextTemplates {
    /// Those of `table` that look at the text. `None` if there are none, or if no request can be without.
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

    /// Refuses the request for what `scope` holds if nothing of a message that has a text would be in it:
    /// a provider would send an empty one, and it would count as sent.
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
