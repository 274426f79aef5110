//! Bearer tokens (RFC 6750), for `/v1` and the admin port.

use actix_web::http::header::{AUTHORIZATION, HeaderMap};

/// The token in `Authorization: Bearer …`; `None` if there is none, or an empty one.
pub fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::HeaderValue;

    #[test]
    fn an_empty_token_is_none() {
        for (header, token) in [
            ("Bearer hush", Some(&b"hush"[..])),
            ("bearer  hush ", Some(b"hush")),
            ("Bearer ", None),
            ("Bearer \t ", None),
            ("Bearer", None),
            ("Basic hush", None),
        ] {
            let mut headers = HeaderMap::new();
            // HTTP/2 keeps the blank at the end, HTTP/1.1 does not.
            headers.insert(AUTHORIZATION, HeaderValue::from_bytes(header.as_bytes()).unwrap());
            assert_eq!(bearer(&headers), token, "{header:?}");
        }
    }
}
