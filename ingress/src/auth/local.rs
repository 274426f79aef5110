//! Which clients `/v1` answers without any API key: those that are really on this machine.

use super::Clients;
use actix_web::HttpRequest;
use postern_service::direct::is_direct;

/// Whether the client of `request` is a program on this machine that speaks to it directly: its address is a
/// loopback address, no proxy is in between, and it calls this machine by a loopback name. A page in a
/// browser whose own host name leads here (DNS rebinding) is not local.
pub(crate) fn is_local(request: &HttpRequest, clients: &Clients) -> bool {
    let peer = request.peer_addr().map(|peer| peer.ip());
    clients.address(peer, request.headers()).is_some_and(|client| client.is_loopback())
        && is_direct(request.uri(), request.headers())
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::{http::header::HOST, test::TestRequest};
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
