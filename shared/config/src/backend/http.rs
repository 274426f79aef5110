//! The HTTP requests that a backend takes: their methods and the formats of their bodies.

use serde::Deserialize;

/// The format that a body is read as, regardless of its `Content-Type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BodyFormat {
    /// JSON.
    Json,
    /// A form: multipart if the `Content-Type` says so, else urlencoded.
    Form,
    /// XML, read as the JSON that stands for it; see [`xml_within`](postern_shared::read::xml_within).
    Xml,
    /// A text, which is the parameter `body`. The other parameters are in the query.
    Text,
}

/// A method that a backend may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Parameters in the query.
    Get,
    /// Parameters in the body.
    Post,
    /// Parameters in the body.
    Put,
}

impl Method {
    /// The method's name in HTTP.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// What is wrong with the key `methods`.
pub(super) fn method_problem(methods: &[Method]) -> Option<(String, String)> {
    let why = "must contain at least one of \"GET\", \"POST\", \"PUT\"";
    methods.is_empty().then(|| ("methods".to_owned(), why.to_owned()))
}
