//! The `Authorization` header.

use super::client::client;
use postern_config::{KeyProblem, backend::send_auth::Auth};
use postern_shared::value::NOT_A_HEADER_VALUE;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use std::time::Duration;

/// The `Authorization` header of `auth`, which is hidden if a request is printed.
///
/// # Errors
/// The key `auth`, and why it is wrong.
pub(crate) fn authorization(auth: &Auth) -> Result<HeaderValue, KeyProblem> {
    let problem = |why: &str| ("auth".to_owned(), why.to_owned());
    let client = client(Duration::from_secs(1), None).map_err(|why| problem(&why))?;
    let mut request = client.get("http://localhost/");
    request = match auth {
        Auth::Basic { username, password } => request.basic_auth(username.expose(), Some(password.expose())),
        Auth::Bearer(token) => request.bearer_auth(token.expose()),
    };
    let value = request.build().ok().and_then(|request| request.headers().get(AUTHORIZATION).cloned());
    let mut value = value.ok_or_else(|| problem(NOT_A_HEADER_VALUE))?;
    value.set_sensitive(true);
    Ok(value)
}
