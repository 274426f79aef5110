//! Addresses to listen on, as people write them.

use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use std::net::SocketAddr;

/// Reads an IP address and a port.
///
/// # Errors
/// What is wrong with `text`, with the address that was probably meant.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| wrong(text.trim()))
}

/// Why `text` is not an address, with an example of one.
fn wrong(text: &str) -> String {
    let example = |port: &str| {
        format!("such as \"127.0.0.1:{port}\" (this machine only) or \"0.0.0.0:{port}\" (every address)")
    };
    let bare = text.rsplit_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
    let (host, port) = match bare.rsplit_once(':') {
        // A bare IPv6 address has colons of its own.
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
        None if !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_digit()) => ("", Some(bare)),
        _ => (bare, None),
    };
    let is_port = |port: &&str| port.parse::<u16>().is_ok();
    match port {
        Some(port) if !is_port(&port) => {
            format!("the port must be a whole number from 0 to 65535: {}", example("8080"))
        }
        None => format!("must be an IP address and a port, {}", example("8080")),
        Some(port) if host.is_empty() || host == "*" => {
            format!("must name an IP address before the port, {}", example(port))
        }
        Some(port) if host.eq_ignore_ascii_case("localhost") => {
            format!("must be an IP address and a port: for localhost, \"127.0.0.1:{port}\"")
        }
        Some(port) => {
            format!("must be an IP address and a port, not a host name or a URL: {}", example(port))
        }
    }
}

/// Reads an address to listen on.
pub(crate) fn required<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Number(port) => port.to_string(),
        _ => String::new(),
    };
    listen_address(&text).map_err(de::Error::custom)
}

/// Reads an address to listen on. `None` if the key is absent.
pub(crate) fn optional<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    required(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_gets_one_that_is() {
        for (text, says) in [
            (":8080", "\"127.0.0.1:8080\""),
            ("*:9000", "\"0.0.0.0:9000\""),
            ("8080", "\"127.0.0.1:8080\""),
            ("localhost:8080", "for localhost, \"127.0.0.1:8080\""),
            ("http://localhost:9090/", "for localhost, \"127.0.0.1:9090\""),
            ("gateway.example.org:80", "\"0.0.0.0:80\""),
            ("0.0.0.0", "and a port"),
            ("127.0.0.1:", "from 0 to 65535"),
            ("127.0.0.1:99999", "from 0 to 65535"),
            ("127.0.0.1:http", "from 0 to 65535"),
            ("::1", "and a port"),
            ("", "\"127.0.0.1:8080\""),
        ] {
            let why = listen_address(text).unwrap_err();
            assert!(why.contains(says) && why.contains("127.0.0.1:"), "{text}: {why}");
        }
        for right in ["127.0.0.1:8080", "[::1]:8080", "0.0.0.0:0"] {
            assert_eq!(listen_address(right).unwrap().to_string(), right);
        }
    }
}
