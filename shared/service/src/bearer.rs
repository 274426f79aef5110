//! Bearer tokens (RFC 6750), as `/v1` and the admin port take them.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};

/// The token in `Authorization: Bearer …`; `None` where there is none.
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}
