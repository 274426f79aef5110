//! Which clients `/v1` answers without any API key: those that are really on this machine.

use super::Clients;
use actix_web::{
    HttpRequest,
    http::{
        Uri,
        header::{HOST, HeaderMap},
        uri::Authority,
    },
};
use std::net::IpAddr;

/// Headers that a proxy adds, besides all that begin with `x-forwarded`.
const OF_PROXIES: [&str; 3] = ["forwarded", "via", "x-real-ip"];

/// Whether the client of `request` is a program on this machine that speaks to it directly: its
/// address is a loopback address, no proxy stands between, and it calls this machine by a loopback
/// name. A page in a browser that has its own name lead here does not.
pub(crate) fn is_local(request: &HttpRequest, clients: &Clients) -> bool {
    let peer = request.peer_addr().map(|peer| peer.ip());
    clients.address(peer, request.headers()).is_some_and(|client| client.is_loopback())
        && !through_proxy(request.headers())
        && calls_loopback(request.uri(), request.headers())
}

fn through_proxy(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| OF_PROXIES.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded"))
}

/// Whether every name by which the request calls this machine is a loopback one, and there is one.
/// HTTP/2 says it in the URI, HTTP/1.1 in `Host` and perhaps in the URI too.
fn calls_loopback(uri: &Uri, headers: &HeaderMap) -> bool {
    let hosts = headers.get_all(HOST).map(|host| Authority::try_from(host.as_bytes()).ok());
    let names: Vec<Option<Authority>> = hosts.chain(uri.authority().cloned().map(Some)).collect();
    let loopback = |name: &Option<Authority>| name.as_ref().is_some_and(|name| is_loopback(name.host()));
    !names.is_empty() && names.iter().all(loopback)
}

fn is_loopback(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::test::TestRequest;
    use postern_config::{Config, ProviderRegistry};

    fn local(peer: &str, host: &str, more: &[(&str, &str)]) -> bool {
        let config = "[ingress]\ntrusted_proxies = [\"127.0.0.9\"]\n[api]\nlisten = \"127.0.0.1:0\"\n";
        let config = Config::parse("test", Some(config), [], &ProviderRegistry::builtin()).unwrap();
        let request = TestRequest::default().peer_addr(format!("{peer}:4711").parse().unwrap());
        let request = if host.is_empty() { request } else { request.insert_header((HOST, host)) };
        let request = more.iter().fold(request, |request, header| request.append_header(*header));
        is_local(&request.to_http_request(), &Clients::from(&config.ingress))
    }

    #[test]
    fn only_a_client_on_this_machine_that_calls_it_directly_is_local() {
        for host in
            ["localhost", "LocalHost:8080", "127.0.0.1:8080", "127.1.2.3", "[::1]:80", "[::ffff:127.0.0.1]"]
        {
            assert!(local("127.0.0.1", host, &[]), "{host}");
        }
        assert!(local("[::1]", "localhost", &[]) && local("[::ffff:127.0.0.1]", "localhost", &[]));
        for host in [
            "",
            "sms.example.org",
            "localhost.example.org",
            "localhost@x",
            "127.0.0.1.nip.io",
            "10.0.0.1",
            "[::2]",
            "2130706433",
            "a b",
        ] {
            assert!(!local("127.0.0.1", host, &[]), "{host}");
        }
        assert!(!local("192.0.2.7", "localhost", &[]) && !local("[2001:db8::1]", "localhost", &[]));
        for header in [
            ("X-Forwarded-For", "203.0.113.66"),
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Forwarded-Host", "sms.example.org"),
            ("X-Forwarded-Proto", "https"),
            ("X-Real-IP", "203.0.113.66"),
            ("Forwarded", "for=127.0.0.1"),
            ("Via", "1.1 proxy"),
            ("Host", "sms.example.org"),
        ] {
            for peer in ["127.0.0.1", "127.0.0.9"] {
                assert!(!local(peer, "localhost", &[header]), "{peer} {header:?}");
            }
        }
    }
}
