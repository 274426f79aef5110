//! The two ways to put load on a server.

pub(crate) mod paced;
pub(crate) mod wrk;

/// A request that is sent over and over.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// `POST` or `GET`
    pub(crate) method: &'static str,
    /// `http://127.0.0.1:PORT`
    pub(crate) base: String,
    /// With its leading slash.
    pub(crate) path: String,
    /// `Content-Type`
    pub(crate) content_type: &'static str,
    /// The body.
    pub(crate) body: String,
}

impl Request {
    /// A form.
    pub(crate) fn form(base: &str, path: &str, body: &str) -> Self {
        Self::new(base, path, "application/x-www-form-urlencoded", body)
    }

    /// JSON.
    pub(crate) fn json(base: &str, path: &str, body: &serde_json::Value) -> Self {
        Self::new(base, path, "application/json", &body.to_string())
    }

    /// A GET; `path` has the query.
    pub(crate) fn get(base: &str, path: &str) -> Self {
        Self { method: "GET", ..Self::new(base, path, "text/plain", "") }
    }

    fn new(base: &str, path: &str, content_type: &'static str, body: &str) -> Self {
        let method = "POST";
        Self { method, base: base.to_owned(), path: path.to_owned(), content_type, body: body.to_owned() }
    }
}
