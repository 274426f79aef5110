//! The URL of a request as its provider called it.

use percent_encoding::percent_decode;
use url::Url;

/// The ways in which the provider may have written `url` when it signed it: some providers write the port and
/// some do not, and the listener encodes characters that came unencoded.
pub(super) fn called_urls(url: &str) -> Vec<String> {
    let mut all = spellings(url);
    let raw = as_sent(url).filter(|raw| raw != url);
    all.extend(raw.as_deref().map(spellings).into_iter().flatten());
    all
}

/// `url` as a client that does not encode texts sends it: without the escapes that the listener writes for
/// characters that actix-http refuses. `None` if the result is not UTF-8.
fn as_sent(url: &str) -> Option<String> {
    let mut raw = Vec::with_capacity(url.len());
    let mut rest = url.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let escaped = rest.get(..3).map(|escape| percent_decode(escape).collect::<Vec<_>>());
        match escaped.as_deref() {
            Some([byte @ (b' ' | b'"' | b'<' | b'>' | b'`' | 0x80..)]) if *first == b'%' => {
                raw.push(*byte);
                rest = &rest[3..];
            }
            _ => {
                raw.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8(raw).ok()
}

/// `url` unchanged, and the same URL with and without its port.
fn spellings(url: &str) -> Vec<String> {
    let mut all = vec![url.to_owned()];
    if let Ok(parsed) = Url::parse(url)
        && let Some((scheme, rest)) = url.split_once("://")
    {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let host = authority.strip_suffix(&parsed.port().map_or(String::new(), |port| format!(":{port}")));
        let host = host.unwrap_or(authority);
        let port = parsed.port_or_known_default().unwrap_or_default();
        let others = [format!("{scheme}://{host}{path}"), format!("{scheme}://{host}:{port}{path}")];
        all.extend(others.into_iter().filter(|other| other != url));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_listener_encodes_is_known_as_it_was_sent() {
        for (url, raw) in [
            ("https://h/x?text=caf%C3%A9%20a", Some("https://h/x?text=café a")),
            ("https://h/x?text=%22%3C%3e%60", Some("https://h/x?text=\"<>`")),
            ("https://h/x?text=%26%23%2B%25%0A%", Some("https://h/x?text=%26%23%2B%25%0A%")),
            ("https://h/x?text=é%C", Some("https://h/x?text=é%C")),
            ("https://h/x?text=%E9", None),
        ] {
            assert_eq!(as_sent(url).as_deref(), raw, "{url}");
        }
    }
}
