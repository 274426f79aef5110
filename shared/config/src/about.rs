//! What a provider's file says of itself to people: its table `[about]`.

use indexmap::IndexMap;
use postern_shared::value::OneOrMany;
use serde::Deserialize;
use std::collections::BTreeSet;

/// The `[about]` table of a provider's file: the text of its page in docs/providers, and of its settings in
/// errors. A `[backends.NAME]` table has none.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The provider's name as the provider writes it.
    pub title: String,
    /// The addresses of the provider's own documentation. `None` for a type that belongs to no provider.
    pub documentation: Option<OneOrMany>,
    /// What to set at the provider, in plain sentences. `{receive}` and `{status}` stand for the addresses
    /// of messages and of delivery reports.
    pub setup: String,
    /// What does not work, and what a user must know. `None` if there is nothing to say.
    pub limits: Option<String>,
    /// A line about each setting, required or not.
    #[serde(default)]
    pub settings: IndexMap<String, String>,
}

impl About {
    /// The mistakes in this table: a key below `about`, and what is wrong. `settings` are all that the file uses.
    pub fn problems(&self, settings: &BTreeSet<String>) -> Vec<(String, String)> {
        let mut wrong = Vec::new();
        let texts = [("title", &self.title), ("setup", &self.setup)];
        for (key, _) in texts.into_iter().filter(|(_, text)| text.trim().is_empty()) {
            wrong.push((key.to_owned(), "is empty".to_owned()));
        }
        let is_address = |text: &String| text.starts_with("https://") || text.starts_with("http://");
        if self.documentation.as_ref().is_some_and(|all| all.0.is_empty() || !all.0.iter().all(is_address)) {
            let why = "must be the URL of the provider's documentation, or a list of URLs";
            wrong.push(("documentation".to_owned(), why.to_owned()));
        }
        for (name, line) in &self.settings {
            if !settings.contains(name) {
                let why = "nothing in this file uses this setting".to_owned();
                wrong.push((format!("settings.{name}"), why));
            } else if line.trim().is_empty() || line.contains('\n') {
                wrong.push((
                    format!("settings.{name}"),
                    "must be one line that describes the setting".to_owned(),
                ));
            }
        }
        for name in settings.iter().filter(|name| !self.settings.contains_key(*name)) {
            wrong.push((
                format!("settings.{name}"),
                "is missing: add one line that describes the setting".to_owned(),
            ));
        }
        wrong
    }
}
