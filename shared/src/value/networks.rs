//! Lists of IP addresses and networks, for example of clients that may connect.

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};
use std::net::IpAddr;

/// Addresses and networks: `"10.0.0.0/8"`, `"2001:db8::/32"`, or one address, `"192.0.2.7"`.
///
/// An IPv4 address is the same however it is written: `::ffff:10.0.0.1` is in `10.0.0.0/8`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    const RULE: &'static str =
        "must be an address such as \"192.0.2.7\", or a network such as \"10.0.0.0/8\" or \"2001:db8::/32\"";

    /// Whether one of the networks contains `address`.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether the list is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads one network. Bits beyond the mask and an IPv4-mapped IPv6 network are refused, since the author
/// may have meant something else.
fn network(text: &str) -> Result<IpNet, &'static str> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address.to_canonical()),
        Err(_) => text.parse::<IpNet>().map_err(|_| Networks::RULE)?,
    };
    if network.trunc() != network {
        return Err("has bits beyond its mask: write the network's first address, such as \"10.0.0.0/8\"");
    }
    match network {
        IpNet::V6(mapped) if mapped.prefix_len() >= 96 && mapped.addr().to_ipv4_mapped().is_some() => {
            Err("is an IPv4 network: write it as one, such as \"10.0.0.0/8\"")
        }
        _ => Ok(network),
    }
}

impl<'de> Deserialize<'de> for Networks {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        /// One network, so that an error names its place in the list.
        struct Network(IpNet);

        impl<'de> Deserialize<'de> for Network {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                network(&text).map(Self).map_err(de::Error::custom)
            }
        }

        let all = Vec::<Network>::deserialize(deserializer)?;
        Ok(Self(all.into_iter().map(|network| network.0).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_address_is_in_its_network_however_it_is_written() {
        let networks: Networks = serde_json::from_value(json!([
            "10.0.0.0/8",
            "192.0.2.7",
            "2001:db8::/32",
            "::ffff:198.51.100.1"
        ]))
        .unwrap();
        for (address, inside) in [
            ("10.255.0.1", true),
            ("::ffff:10.0.0.1", true),
            ("11.0.0.1", false),
            ("192.0.2.7", true),
            ("192.0.2.8", false),
            ("198.51.100.1", true),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("::a00:1", false),
        ] {
            assert_eq!(networks.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert!(Networks::default().is_empty() && !networks.is_empty());
    }

    #[test]
    fn what_is_no_network_says_why() {
        for (wrong, says) in [
            (json!(["10.0.0.0/33"]), "\"10.0.0.0/8\""),
            (json!(["example.org"]), "\"192.0.2.7\""),
            (json!([""]), "\"192.0.2.7\""),
            (json!(["10.0.0.1/8"]), "beyond its mask"),
            (json!(["::ffff:10.0.0.0/104"]), "is an IPv4 network"),
        ] {
            let why = serde_json::from_value::<Networks>(wrong.clone()).unwrap_err().to_string();
            assert!(why.contains(says), "{wrong}: {why}");
        }
    }
}
