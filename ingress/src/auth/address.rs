//! The address that a request comes from, behind proxies or not.

use actix_web::http::header::{FORWARDED, HeaderMap, X_FORWARDED_FOR};
use postern_config::{ClientHeader, IngressSection};
use postern_shared::value::Networks;
use std::net::{IpAddr, SocketAddr};

/// How a client's address is found: `ingress.trusted_proxies` and `ingress.client_header`.
#[derive(Debug, Clone)]
pub(crate) struct Clients {
    trusted: Networks,
    header: ClientHeader,
}

impl From<&IngressSection> for Clients {
    fn from(ingress: &IngressSection) -> Self {
        Self { trusted: ingress.trusted_proxies.clone(), header: ingress.client_header }
    }
}

impl Clients {
    /// The client's address; `None` if the last trusted proxy does not give it.
    ///
    /// Each proxy appends the address of its own client on the right. So the list is read from the right,
    /// beginning with the peer: the first address that is not a trusted proxy's is the client's. Everything
    /// left of it was written by the client.
    pub(crate) fn address(&self, peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = peer?.to_canonical();
        if !self.trusted.contains(client) {
            return Some(client);
        }
        let lines: Vec<&[u8]> = match self.header {
            ClientHeader::XForwardedFor => headers.get_all(X_FORWARDED_FOR).map(|it| it.as_bytes()).collect(),
            ClientHeader::Forwarded => headers.get_all(FORWARDED).map(|it| it.as_bytes()).collect(),
        };
        // Each hop is read on its own: what is left of the client's may not even be text.
        for line in lines.into_iter().rev() {
            let hops = line.rsplit(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            for hop in hops.filter(|hop| !hop.is_empty()) {
                let hop = std::str::from_utf8(hop).ok()?;
                client = match self.header {
                    ClientHeader::XForwardedFor => node(hop)?,
                    ClientHeader::Forwarded => node(forwarded_for(hop)?)?,
                };
                if !self.trusted.contains(client) {
                    return Some(client);
                }
            }
        }
        Some(client)
    }
}

/// The `for` of an element of `Forwarded` (RFC 7239, section 4), without its quotes. A quoted comma cuts an
/// element in two, but no address contains a comma, and neither half is an address.
fn forwarded_for(element: &str) -> Option<&str> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim();
        let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        name.trim().eq_ignore_ascii_case("for").then(|| quoted.unwrap_or(value))
    })
}

/// Parses an address as proxies write it: alone or with a port, an IPv6 address with or without brackets.
fn node(text: &str) -> Option<IpAddr> {
    let bracketed = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let address = bracketed.unwrap_or(text).parse::<IpAddr>().ok();
    address.or_else(|| text.parse::<SocketAddr>().ok().map(|it| it.ip())).map(|it| it.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::http::header::{HeaderName, HeaderValue};
    use serde_json::json;

    fn client(
        header: ClientHeader,
        trusted: &[&str],
        peer: &str,
        lines: &[(&str, impl AsRef<[u8]>)],
    ) -> Option<String> {
        let trusted = serde_json::from_value(json!(trusted)).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_ref()).unwrap());
        }
        let clients = Clients { trusted, header };
        clients.address(Some(peer.parse().unwrap()), &headers).map(|it| it.to_string())
    }

    #[test]
    fn nobody_can_say_of_himself_where_he_is() {
        const XFF: &str = "X-Forwarded-For";
        let proxies = &["10.0.0.0/8", "2001:db8:1::/48"][..];
        for (name, peer, lines, wanted) in [
            ("no proxy, no header", "192.0.2.1", &[][..], Some("192.0.2.1")),
            ("whoever is no proxy is not asked", "192.0.2.1", &[(XFF, "198.51.100.1")], Some("192.0.2.1")),
            ("the proxy's word", "10.0.0.1", &[(XFF, "198.51.100.1")], Some("198.51.100.1")),
            (
                "what the client wrote",
                "10.0.0.1",
                &[(XFF, "203.0.113.9, 198.51.100.1")],
                Some("198.51.100.1"),
            ),
            (
                "a proxy's address is no disguise",
                "10.0.0.1",
                &[(XFF, "10.0.0.2, 198.51.100.1")],
                Some("198.51.100.1"),
            ),
            (
                "two proxies",
                "10.0.0.1",
                &[(XFF, "203.0.113.9, 198.51.100.1, 10.0.0.2")],
                Some("198.51.100.1"),
            ),
            (
                "two lines are one list",
                "10.0.0.1",
                &[(XFF, "203.0.113.9"), (XFF, "198.51.100.1")],
                Some("198.51.100.1"),
            ),
            ("all are proxies", "10.0.0.1", &[(XFF, "10.0.0.3, 10.0.0.2")], Some("10.0.0.3")),
            ("the proxy itself", "10.0.0.1", &[], Some("10.0.0.1")),
            ("empty elements", "10.0.0.1", &[(XFF, ",, 198.51.100.1 ,")], Some("198.51.100.1")),
            ("a port", "10.0.0.1", &[(XFF, "198.51.100.1:4711")], Some("198.51.100.1")),
            ("IPv6", "2001:db8:1::1", &[(XFF, "2001:db8:2::7")], Some("2001:db8:2::7")),
            ("IPv6 in brackets", "10.0.0.1", &[(XFF, "[2001:db8:2::7]:443")], Some("2001:db8:2::7")),
            (
                "IPv4 in IPv6's clothes",
                "::ffff:10.0.0.1",
                &[(XFF, "::ffff:198.51.100.1")],
                Some("198.51.100.1"),
            ),
            ("a proxy that does not know", "10.0.0.1", &[(XFF, "198.51.100.1, unknown")], None),
            ("what is no address", "10.0.0.1", &[(XFF, "198.51.100.1, 10.0.0.256")], None),
            (
                "rubbish further left is not read",
                "10.0.0.1",
                &[(XFF, "rubbish, 198.51.100.1")],
                Some("198.51.100.1"),
            ),
            (
                "the other header is the client's",
                "10.0.0.1",
                &[("Forwarded", "for=203.0.113.9")],
                Some("10.0.0.1"),
            ),
        ] {
            let found = client(ClientHeader::XForwardedFor, proxies, peer, lines);
            assert_eq!(found.as_deref(), wanted, "{name}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_hide_nobody() {
        for (header, name, line, wanted) in [
            (
                ClientHeader::XForwardedFor,
                "X-Forwarded-For",
                &b"\xff, 198.51.100.1"[..],
                Some("198.51.100.1"),
            ),
            (
                ClientHeader::XForwardedFor,
                "X-Forwarded-For",
                b"\xff\xfe,198.51.100.1, 10.0.0.2",
                Some("198.51.100.1"),
            ),
            (ClientHeader::XForwardedFor, "X-Forwarded-For", b"198.51.100.1, \xff", None),
            (ClientHeader::Forwarded, "Forwarded", b"for=\xff, for=198.51.100.1", Some("198.51.100.1")),
        ] {
            let found = client(header, &["10.0.0.0/8"], "10.0.0.1", &[(name, line)]);
            assert_eq!(found.as_deref(), wanted, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn forwarded_is_read_as_its_rfc_says() {
        for (line, wanted) in [
            ("for=198.51.100.1", Some("198.51.100.1")),
            ("For=203.0.113.9, by=10.0.0.1; FOR=\"198.51.100.1:80\" ;proto=https", Some("198.51.100.1")),
            ("for=\"[2001:db8::7]:4711\"", Some("2001:db8::7")),
            ("for=198.51.100.1, for=10.0.0.2", Some("198.51.100.1")),
            ("for=198.51.100.1, for=_hidden", None),
            ("for=unknown", None),
            ("proto=https", None),
            ("for=\"203.0.113.9, for=198.51.100.1\"", None),
        ] {
            let found = client(ClientHeader::Forwarded, &["10.0.0.0/8"], "10.0.0.1", &[("Forwarded", line)]);
            assert_eq!(found.as_deref(), wanted, "{line}");
        }
    }

    #[test]
    fn without_trusted_proxies_the_peer_counts() {
        for line in ["198.51.100.1", "192.0.2.1", "127.0.0.1"] {
            let found = client(ClientHeader::XForwardedFor, &[], "10.0.0.1", &[("X-Forwarded-For", line)]);
            assert_eq!(found.as_deref(), Some("10.0.0.1"), "{line}");
        }
    }
}
