//! `providers`: a folder of further provider files.

use crate::{provider_registry::ProviderRegistry, reader::Reader};
use postern_shared::message::BackendName;
use serde::{
    Deserialize, Deserializer,
    de::{self, value::MapAccessDeserializer},
};
use serde_json::Value;
use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
};

/// The key in the configuration.
pub(super) const KEY: &str = "providers";

/// The value of the key: `"DIR"`, or `{ dir = "DIR", replace = ["NAME"] }`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct ProvidersSection {
    #[serde(deserialize_with = "folder")]
    table: ProvidersTable,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProvidersTable {
    /// The folder with the files.
    dir: PathBuf,
    /// The built-in types that a file of the folder replaces.
    #[serde(default)]
    replace: Vec<String>,
}

fn folder<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ProvidersTable, D::Error> {
    deserializer.deserialize_any(ProvidersVisitor)
}

struct ProvidersVisitor;

impl<'de> de::Visitor<'de> for ProvidersVisitor {
    type Value = ProvidersTable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a folder, or a table of dir and replace")
    }

    fn visit_str<E: de::Error>(self, dir: &str) -> Result<ProvidersTable, E> {
        Ok(ProvidersTable { dir: dir.into(), replace: Vec::new() })
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<ProvidersTable, A::Error> {
        ProvidersTable::deserialize(MapAccessDeserializer::new(map))
    }
}

/// The types that a configuration may name if its key [`KEY`] is `section`: those of `providers`, and a type
/// for each file of the folder. Notes every mistake.
pub(super) fn with_folder<'p>(
    reader: &mut Reader,
    section: Option<Value>,
    providers: &'p ProviderRegistry,
) -> Cow<'p, ProviderRegistry> {
    let Some(section) = section else { return Cow::Borrowed(providers) };
    let Some(ProvidersSection { table }) = reader.read(KEY, section) else { return Cow::Borrowed(providers) };
    let ProvidersTable { dir, replace } = table;
    let files = match files(&dir) {
        Ok(files) => files,
        Err(error) => {
            let what = format!("the folder {} cannot be read: {error}", dir.display());
            reader.problem(KEY, what);
            return Cow::Borrowed(providers);
        }
    };
    let mut extended = providers.clone();
    for name in &replace {
        let there = files.iter().any(|file| name_of(file) == *name);
        if !there || !providers.knows(name) {
            let what = format!(
                "replace names {name}, which must be both a built-in type and a file {name}.toml in {}",
                dir.display()
            );
            reader.problem(format!("{KEY}.replace"), what);
        }
    }
    for file in &files {
        let (name, path) = (name_of(file), file.display());
        if let Err(rule) = name.parse::<BackendName>() {
            reader.problem(KEY, format!("{path}: the name of the file, without .toml, is its type: {rule}"));
        } else if providers.knows(&name) && !replace.contains(&name) {
            let what = format!(
                "{path}: {name} is a built-in type; give the file another name, or replace the built-in \
                 type: providers = {{ dir = \"{}\", replace = [\"{name}\"] }}",
                dir.display()
            );
            reader.problem(KEY, what);
        } else if let Err(problems) = extended.add_file(&name, file, providers) {
            for problem in problems {
                reader.problem(KEY, format!("{path}: {problem}"));
            }
        }
    }
    Cow::Owned(extended)
}

/// The provider files in `dir`, by name. Subfolders are ignored.
fn files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn name_of(file: &Path) -> String {
    file.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
