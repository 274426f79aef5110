//! The two ways to put load on a server.

pub(crate) mod paced;
pub(crate) mod wrk;

/// A request that is sent repeatedly.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The method, `POST` or `GET`.
    pub(crate) method: &'static str,
    /// The server's address, `http://127.0.0.1:PORT`.
    pub(crate) base: String,
    /// The path with its leading slash.
    pub(crate) path: String,
    /// The `Content-Type`.
    pub(crate) content_type: &'static str,
    /// The body.
    pub(crate) body: String,
}

impl Request {
    /// A POST of a form.
    pub(crate) fn form(base: &str, path: &str, body: &str) -> Self {
        Self::new(base, path, "application/x-www-form-urlencoded", body)
    }

    /// A POST of JSON.
    pub(crate) fn json(base: &str, path: &str, body: &serde_json::Value) -> Self {
        Self::new(base, path, "application/json", &body.to_string())
    }

    /// A GET; `path` includes the query.
    pub(crate) fn get(base: &str, path: &str) -> Self {
        Self { method: "GET", ..Self::new(base, path, "text/plain", "") }
    }

    fn new(base: &str, path: &str, content_type: &'static str, body: &str) -> Self {
        let method = "POST";
        Self { method, base: base.to_owned(), path: path.to_owned(), content_type, body: body.to_owned() }
    }
}
