//! Recognises requests that a client on this machine makes directly. A port on a loopback address that
//! needs no token serves only these.

use actix_web::http::{
    Uri,
    header::{HOST, HeaderMap},
    uri::Authority,
};
use std::net::IpAddr;

/// Headers that a proxy adds, in addition to all that begin with `x-forwarded`.
const OF_PROXIES: [&str; 3] = ["forwarded", "via", "x-real-ip"];

/// Whether the request with `headers` and `uri` came through no proxy, and calls this machine by a loopback
/// name. A web page whose own host name resolves to this machine does not.
pub fn is_direct(uri: &Uri, headers: &HeaderMap) -> bool {
    !through_proxy(headers) && calls_loopback(uri, headers)
}

fn through_proxy(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| OF_PROXIES.contains(&name.as_str()) || name.as_str().starts_with("x-forwarded"))
}

/// Whether every host name in the request is a loopback name, and there is at least one. HTTP/2 has the
/// name in the URI, HTTP/1.1 in `Host` and perhaps in the URI, too.
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
