//! Which addresses a client may have Postern call: the public Internet and what the configuration adds,
//! so that nobody reaches through Postern into the network around it.

use crate::value::Networks;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use url::{Host, Url};

/// The addresses that may be called.
#[derive(Debug, Clone, Default)]
pub struct EgressPolicy {
    allow: Networks,
}

/// An address that may not be called, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressRefused {
    /// The text is not a URL that may be called, and why.
    #[error("{0}")]
    Url(&'static str),
    /// The address is not a public one, and the policy does not allow it.
    #[error("{address} is {kind}")]
    Address {
        /// The address.
        address: IpAddr,
        /// What kind of address it is, with its article.
        kind: &'static str,
    },
}

impl EgressPolicy {
    /// A policy that allows the public Internet and `allow`.
    pub fn new(allow: &Networks) -> Self {
        Self { allow: allow.clone() }
    }

    /// Reads `text` as a URL that may be called. A host name is checked later, when its addresses are known.
    ///
    /// # Errors
    /// `text` is not an http or https URL, contains a user name or a password, or names an address that
    /// may not be called.
    pub fn url(&self, text: &str) -> Result<Url, EgressRefused> {
        let refused = |why| Err(EgressRefused::Url(why));
        let Ok(url) = Url::parse(text) else { return refused("it is not a URL") };
        if !matches!(url.scheme(), "http" | "https") {
            return refused("only http and https are allowed");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return refused("it contains a user name or a password");
        }
        match url.host() {
            Some(Host::Ipv4(address)) => self.address(address.into())?,
            Some(Host::Ipv6(address)) => self.address(address.into())?,
            Some(Host::Domain(_)) => {}
            None => return refused("it has no host"),
        }
        Ok(url)
    }

    /// Checks whether `address` may be called, just before a connection to it.
    ///
    /// # Errors
    /// The address may not be called. The error says what kind of address it is.
    pub fn address(&self, address: IpAddr) -> Result<(), EgressRefused> {
        let address = address.to_canonical();
        if self.allow.contains(address) {
            return Ok(());
        }
        match kind(address).or_else(|| is_own(address).then_some("an address of this machine")) {
            Some(kind) => Err(EgressRefused::Address { address, kind }),
            None => Ok(()),
        }
    }
}

/// Whether `address` is this machine's own: a socket can be bound to it. A firewall around the machine
/// sees no packets to its own addresses. If sockets can be bound to any address (Linux's
/// `ip_nonlocal_bind`), no address counts as its own.
fn is_own(address: IpAddr) -> bool {
    /// Addresses for documentation (RFC 5737, RFC 3849), which no machine has.
    const NOBODYS: [IpAddr; 2] =
        [IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];
    let can_be_bound = |address: IpAddr| UdpSocket::bind(SocketAddr::new(address, 0)).is_ok();
    can_be_bound(address) && !NOBODYS.into_iter().any(can_be_bound)
}

/// What kind of address `address` is, if it is not public. The sources are the registries of
/// special-purpose addresses (RFC 6890), the ways to write an IPv4 address in an IPv6 one, and the
/// clouds' metadata addresses outside these ranges.
fn kind(address: IpAddr) -> Option<&'static str> {
    match address.to_canonical() {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

fn kind_v4(address: Ipv4Addr) -> Option<&'static str> {
    /// Azure's metadata address.
    const METADATA: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
    let [a, b, c, _] = address.octets();
    Some(match (a, b, c) {
        (0, ..) => "an unspecified address",
        (127, ..) => "a loopback address",
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => "a private address",
        (100, 64..=127, _) => "a shared address (carrier-grade NAT)",
        (169, 254, _) => "a link-local address",
        (224..=239, ..) => "a multicast address",
        (192, 0, 0)
        | (192, 0, 2)
        | (192, 31, 196)
        | (192, 52, 193)
        | (192, 88, 99)
        | (192, 175, 48)
        | (198, 18..=19, _)
        | (198, 51, 100)
        | (203, 0, 113)
        | (240.., ..) => "a reserved address",
        _ if address == METADATA => "a metadata address",
        _ => return None,
    })
}

fn kind_v6(address: Ipv6Addr) -> Option<&'static str> {
    let [a, b, c, ..] = address.segments();
    Some(match (a, b, c) {
        _ if address.is_unspecified() => "an unspecified address",
        _ if address.is_loopback() => "a loopback address",
        (0, ..) => "an IPv4 address in another form",
        (0x64, 0xff9b, _) => "an IPv4 address behind NAT64",
        (0x2002, ..) => "an IPv4 address behind 6to4",
        (0x2001, 0, _) => "an IPv4 address behind Teredo",
        (0xfc00..=0xfdff, ..) => "a private address",
        (0xfe80..=0xfebf, ..) => "a link-local address",
        (0xfec0..=0xfeff, ..) => "a site-local address",
        (0xff00.., ..) => "a multicast address",
        (0x2001, 1..=0x1ff, _) | (0x2001, 0xdb8, _) | (0x2620, 0x4f, 0x8000) | (0x3fff, 0..=0xfff, _) => {
            "a reserved address"
        }
        // The only range from which addresses of the public Internet are assigned (IANA's registry
        // "Internet Protocol Version 6 Address Space").
        (0x2000..=0x3fff, ..) => return None,
        _ => "a reserved address",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_public_addresses_are_called() {
        let reach = EgressPolicy::default();
        for (address, kind) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("10.0.0.1", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.1.1", "private"),
            ("100.64.0.1", "shared"),
            ("100.100.100.200", "shared"),
            ("100.127.255.255", "shared"),
            ("169.254.169.254", "link-local"),
            ("168.63.129.16", "metadata"),
            ("192.0.0.192", "reserved"),
            ("198.18.0.1", "reserved"),
            ("203.0.113.9", "reserved"),
            ("224.0.0.1", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "reserved"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:10.0.0.1", "private"),
            ("::127.0.0.1", "another form"),
            ("64:ff9b::10.0.0.1", "NAT64"),
            ("64:ff9b:1::1", "NAT64"),
            ("2002:7f00:1::", "6to4"),
            ("2001::1", "Teredo"),
            ("2001:db8::1", "reserved"),
            ("100::1", "reserved"),
            ("200::1", "reserved"),
            ("400::1", "reserved"),
            ("1fff:ffff::1", "reserved"),
            ("3fff::1", "reserved"),
            ("4000::1", "reserved"),
            ("5f00::1", "reserved"),
            ("e000::1", "reserved"),
            ("2620:4f:8000::1", "reserved"),
            ("192.31.196.1", "reserved"),
            ("192.52.193.1", "reserved"),
            ("192.175.48.1", "reserved"),
            ("fc00::1", "private"),
            ("fd00:ec2::254", "private"),
            ("fe80::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
        ] {
            let why = reach.address(address.parse().unwrap()).unwrap_err().to_string();
            assert!(why.contains(kind), "{address}: {why}");
        }
        for public in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.1.1",
            "223.255.255.255",
            "::ffff:1.1.1.1",
            "2606:4700::1111",
            "2001:4860::8888",
            "2000::1",
            "2620:4f:8001::1",
            "3ffe::1",
        ] {
            assert_eq!(reach.address(public.parse().unwrap()), Ok(()), "{public}");
        }
    }

    #[test]
    fn an_address_in_a_url_is_judged_however_it_is_written() {
        let reach = EgressPolicy::default();
        for (url, says) in [
            ("http://127.0.0.1/", "loopback"),
            ("http://127.1/", "loopback"),
            ("http://2130706433/", "loopback"),
            ("http://0x7f.0.0.1:8080/x", "loopback"),
            ("http://0177.0.0.1/", "loopback"),
            ("http://127.0.0.1./", "loopback"),
            ("http://①②⑦.0.0.1/", "loopback"),
            ("http://[::1]/", "loopback"),
            ("http://[::ffff:169.254.169.254]/latest", "link-local"),
            ("https://[fd00:ec2::254]/", "private"),
            ("ftp://example.org/", "http and https"),
            ("file:///etc/passwd", "http and https"),
            ("gopher://example.org/", "http and https"),
            ("http://user@example.org/", "user"),
            ("http://:pass@example.org/", "user"),
            ("http://%p/x", "not a URL"),
            ("http:///", "not a URL"),
            ("example.org/x", "not a URL"),
            ("", "not a URL"),
        ] {
            let why = reach.url(url).unwrap_err().to_string();
            assert!(why.contains(says), "{url}: {why}");
        }
        for url in ["http://example.org/dlr?s=%d&t=%A", "https://sms.example.org:8443/", "http://1.1.1.1/"] {
            assert!(reach.url(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn the_machines_own_addresses_are_known() {
        for (address, own) in
            [("127.0.0.1", true), ("127.8.8.8", true), ("1.1.1.1", false), ("2606:4700::1111", false)]
        {
            assert_eq!(is_own(address.parse().unwrap()), own, "{address}");
        }
    }

    #[test]
    fn the_configuration_may_allow_more() {
        let allow: Networks = serde_json::from_value(json!(["127.0.0.0/8", "fd00::/8"])).unwrap();
        let reach = EgressPolicy::new(&allow);
        for allowed in ["127.0.0.1", "::ffff:127.0.0.2", "fd00::7"] {
            assert_eq!(reach.address(allowed.parse().unwrap()), Ok(()), "{allowed}");
        }
        for refused in ["10.0.0.1", "::1", "64:ff9b::7f00:1"] {
            assert!(reach.address(refused.parse().unwrap()).is_err(), "{refused}");
        }
        assert!(reach.url("http://127.0.0.1:9000/dlr").is_ok());
    }
}
