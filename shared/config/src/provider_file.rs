//! A provider file, which defines a backend type.

use crate::{
    about::About,
    document::{Document, overlay},
    lines::Lines,
    problem::Problem,
    source, type_settings,
};
use postern_shared::read::{self, Origin};
use serde_json::{Map, Value};
use std::path::Path;

/// The definition of a backend type.
#[derive(Debug, Clone, Default)]
pub(super) struct ProviderFile {
    /// The keys of a backend of this type, unless its own table sets them.
    pub(super) tree: Map<String, Value>,
    /// The table `[about]`. `None` for a type that is registered in Rust, and for a user's file without that
    /// table.
    pub(super) about: Option<About>,
    /// Whether the file builds on another type.
    pub(super) has_base: bool,
    /// The place of the file and its keys. `None` for a type that is compiled in.
    pub(super) place: Option<FilePlace>,
}

/// The path of a file, and the lines of its keys.
#[derive(Debug, Clone)]
pub(super) struct FilePlace {
    /// The file's path.
    pub(super) path: String,
    /// The lines of its keys.
    pub(super) lines: Lines,
}

/// An origin for reading that knows nothing beyond the types.
struct Plain;

impl Origin for Plain {}

/// The key that names the type which a file builds on.
const BASE: &str = "base";

/// `upper` laid over `lower`. A `receive.auth` in `upper` replaces the other as a whole: a request proves
/// itself in only one way.
pub(super) fn laid_over(lower: &Map<String, Value>, upper: Map<String, Value>) -> Map<String, Value> {
    let mut tree = lower.clone();
    if upper.get("receive").and_then(|receive| receive.get("auth")).is_some()
        && let Some(Value::Object(receive)) = tree.get_mut("receive")
    {
        receive.shift_remove("auth");
    }
    overlay(&mut tree, upper);
    tree
}

impl ProviderFile {
    /// The built-in file with this `text`, which the tests of [`ProviderRegistry`](crate::ProviderRegistry) have
    /// checked, and the name of the type that it builds on.
    pub(super) fn built_in(text: &str) -> (Self, Option<String>) {
        let mut tree = Document::parse(text).map(|document| document.tree).unwrap_or_default();
        let about = tree.shift_remove("about").and_then(|about| read::from_value(&about).ok());
        let base = tree.shift_remove(BASE).and_then(|base| base.as_str().map(str::to_owned));
        (Self { tree, about, has_base: false, place: None }, base)
    }

    /// The file laid over `base`, which sets the keys that are absent here.
    pub(super) fn over(self, base: &Self) -> Self {
        let tree = laid_over(&base.tree, self.tree);
        let used = type_settings::settings_in(&tree);
        let about = self.about.or_else(|| base.about.clone()).map(|mut own| {
            if let Some(theirs) = &base.about {
                let lines = theirs.settings.iter().filter(|(name, _)| used.contains(*name));
                let missing: Vec<_> = lines.filter(|(name, _)| !own.settings.contains_key(*name)).collect();
                own.settings.extend(missing.into_iter().map(|(name, line)| (name.clone(), line.clone())));
                own.documentation = own.documentation.or_else(|| theirs.documentation.clone());
            }
            own
        });
        Self { tree, about, has_base: true, ..self }
    }

    /// The file at `path`, laid over the type that it builds on. `base` finds that type by the value of the key.
    ///
    /// # Errors
    /// Every problem with the file itself, with `[about]`, and with keys that only a configuration may have.
    /// The other tables are checked with each backend of the type.
    pub(super) fn read<'b>(
        path: &Path,
        base: impl Fn(&Value) -> Result<&'b Self, String>,
    ) -> Result<Self, Vec<Problem>> {
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
            let what = "unknown key: this is a provider's file; the keys of a backend belong in the \
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
        let named = tree.shift_remove(BASE);
        let base = named.as_ref().map(base).transpose();
        let base = base.unwrap_or_else(|what| {
            problem(BASE.to_owned(), what);
            None
        });
        let file = Self { tree, about, has_base: false, place: None };
        let file = if let Some(base) = base { file.over(base) } else { file };
        if named.is_none() || base.is_some() {
            let used = type_settings::settings_in(&file.tree);
            let wrong = file.about.iter().flat_map(|about| about.problems(&used));
            wrong.for_each(|(key, what)| problem(format!("about.{key}"), what));
        }
        if problems.is_empty() {
            let place = FilePlace { path: path.display().to_string(), lines };
            return Ok(Self { place: Some(place), ..file });
        }
        problems.sort_by_key(|problem| problem.line);
        Err(problems)
    }
}
