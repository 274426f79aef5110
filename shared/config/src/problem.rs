//! What is wrong with a configuration: every problem, with its key and its line.

use std::{fmt, path::Path};

/// One mistake in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, such as `backends.clinic.send.url`; empty for the file as a whole.
    pub key: String,
    /// The line of the file, from 1. `None` if the value comes from the environment or a built-in file.
    pub line: Option<usize>,
    /// What is wrong and what is allowed. Never quotes a value that could be a secret.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.at_key())
    }
}

impl Problem {
    /// The key, if there is one, and what is wrong; without the line.
    pub fn at_key(&self) -> String {
        if self.key.is_empty() { self.what.clone() } else { format!("{}: {}", self.key, self.what) }
    }
}

/// A key below a backend's, and what is wrong with its value. Connectors and forms return these.
pub type KeyProblem = (String, String);

/// Everything that is wrong with a configuration, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.iter().map(|p| format!("{}: {p}", .source_name)).collect::<Vec<_>>().join("\n"))]
pub struct InvalidConfig {
    /// The file's path, or a name for another source.
    pub source_name: String,
    /// The problems. At least one.
    pub problems: Vec<Problem>,
}

/// The name of the configuration in `file` for errors. Without a file it is the built-in configuration.
pub fn source_name(file: Option<&Path>) -> String {
    file.map_or("the built-in configuration".to_owned(), |path| path.display().to_string())
}
