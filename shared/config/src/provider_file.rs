//! A file that says what a backend type is, read.

use crate::{about::About, document::Document, lines::Lines, problem::Problem, source, type_settings};
use postern_shared::read::{self, Origin};
use serde_json::{Map, Value};
use std::path::Path;

/// What a backend type is.
#[derive(Debug, Clone, Default)]
pub(super) struct ProviderFile {
    /// What a backend of this type says unless its own table says otherwise.
    pub(super) tree: Map<String, Value>,
    /// What the file says of itself to people. `None` for a type that is registered in Rust, and for a user's
    /// file without that table.
    pub(super) about: Option<About>,
    /// Where it is, and where its keys are. `None` for what is compiled in.
    pub(super) place: Option<FilePlace>,
}

/// Where a file is, and where its keys are in it.
#[derive(Debug, Clone)]
pub(super) struct FilePlace {
    /// Its path.
    pub(super) path: String,
    /// Where its keys are.
    pub(super) lines: Lines,
}

/// Nothing is known besides the types.
struct Plain;

impl Origin for Plain {}

impl ProviderFile {
    /// The built-in one with this `text`, which the tests of [`ProviderRegistry`](crate::ProviderRegistry)
    /// have read.
    pub(super) fn built_in(text: &str) -> Self {
        let mut tree = Document::parse(text).map(|document| document.tree).unwrap_or_default();
        let about = tree.shift_remove("about").and_then(|about| read::from_value(&about).ok());
        Self { tree, about, place: None }
    }

    /// The one at `path`.
    ///
    /// # Errors
    /// Every problem with it as a file, with `[about]` and with what only a configuration may say. What its
    /// other tables say is checked with each backend of its type.
    pub(super) fn read(path: &Path) -> Result<Self, Vec<Problem>> {
        let whole = |what: String| vec![Problem { key: String::new(), line: None, what }];
        let bytes = std::fs::read(path).map_err(|error| whole(format!("cannot be read: {error}")))?;
        let text = source::text(bytes).map_err(|problem| vec![problem])?;
        let Document { mut tree, lines } = Document::parse(&text)?;
        let mut problems = Vec::new();
        let mut problem = |key: String, what: String| {
            problems.push(Problem { line: lines.of(&key), key, what });
        };
        if tree.shift_remove("type").is_some() {
            let what =
                "unknown key: the name of a provider's file is its type; a [backends.NAME] table names it";
            problem("type".to_owned(), what.to_owned());
        }
        if tree.shift_remove("backends").is_some() {
            let what = "unknown key: this is a provider's file; what a backend of it says stands in the \
                        configuration";
            problem("backends".to_owned(), what.to_owned());
        }
        let about = tree.shift_remove("about").and_then(|about| {
            let reading = read::every::<About>(about, &Plain);
            let is_whole = reading.mistakes.is_empty();
            for mistake in reading.mistakes {
                problem(format!("about.{}", mistake.place), mistake.wrong.to_string());
            }
            reading.value.filter(|_| is_whole)
        });
        let wrong = about.iter().flat_map(|about| about.problems(&type_settings::settings_in(&tree)));
        wrong.for_each(|(key, what)| problem(format!("about.{key}"), what));
        if problems.is_empty() {
            let place = FilePlace { path: path.display().to_string(), lines };
            return Ok(Self { tree, about, place: Some(place) });
        }
        problems.sort_by_key(|problem| problem.line);
        Err(problems)
    }
}
