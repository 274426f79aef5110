//! The sections of a configuration file, but for the backends. Their defaults are in
//! `deploy/default.toml`, which lies under every configuration.

use crate::{listen, spool::SpoolSection, tls_files::TlsFiles};
use jiff::Timestamp;
use postern_shared::{
    event::Keep,
    message::BackendName,
    value::{Moment, Networks, Period, Rate, Secret, SecretDigest, Span, Window},
};
use serde::Deserialize;
use std::net::SocketAddr;

/// `[broker]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerSection {
    /// `embedded:DIR`, `amqp://…` or `amqps://…`. A secret: it holds a password.
    pub url: Secret,
    /// How long a publish may take, its confirm included.
    pub publish_timeout: Span,
    /// The most reports that `postern.reports` keeps; the oldest go first.
    pub max_reports: u64,
    /// The most callbacks that wait in each of their queues; the oldest go first.
    pub max_callbacks: u64,
    /// The most messages that wait in each other queue; publishes beyond are refused. Absent: no limit.
    pub max_messages: Option<u64>,
    /// Embedded only: free bytes on the disk below which nothing more is accepted.
    pub min_free_disk: u64,
}

impl BrokerSection {
    /// Whether the broker is the store in the process itself, which no other process can use.
    pub fn is_embedded(&self) -> bool {
        self.url.expose().starts_with("embedded:")
    }
}

/// `[ingress]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngressSection {
    /// The public port.
    #[serde(deserialize_with = "listen::required")]
    pub listen: SocketAddr,
    /// Absent: without TLS.
    pub tls: Option<TlsFiles>,
    /// Scheme, host and path under which providers see it, without a `/` at the end.
    pub public_url: Option<String>,
    /// The largest body, in bytes.
    pub max_body: usize,
    /// The most parameters of one request.
    pub max_fields: usize,
    /// The most messages and delivery reports of one request to a backend with `each`. 1 to 10,000.
    pub max_items: usize,
    /// The longest name of a parameter, in bytes.
    pub max_key: usize,
    /// The longest value of a parameter, in bytes.
    pub max_value: usize,
    /// How long a client may take to send its headers, and then its body.
    pub read_timeout: Span,
    /// Threads that serve requests; 0: one for each core.
    pub workers: usize,
    /// The most connections to `listen`. Absent: what the limit of open files leaves room for, at most
    /// 20,000.
    pub max_connections: Option<usize>,
    /// The most connections of one IPv4 address or one IPv6 /64, to `listen` and to `api.listen` each;
    /// for loopback addresses and `trusted_proxies` any number.
    pub max_connections_per_address: usize,
    /// The proxies in front of it, whose word about their client is taken.
    #[serde(default)]
    pub trusted_proxies: Networks,
    /// Where they say it.
    pub client_header: ClientHeader,
    /// How many requests that prove nothing one address may make. Absent: any number.
    pub rate_limit: Option<AddressLimit>,
    /// How long a message that a provider repeats (the same backend, `external_id`, identity and text)
    /// is acknowledged without being queued again, and for how long an `Idempotency-Key` is remembered; 0: a
    /// repeated message is always queued again.
    pub dedupe_window: Window,
    /// Where messages are stored while the broker takes none.
    #[serde(default)]
    pub spool: SpoolSection,
}

/// The header in which proxies name their client; each of several adds itself on the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ClientHeader {
    /// Addresses, with commas between them.
    #[serde(rename = "X-Forwarded-For")]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

/// `ingress.rate_limit`
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressLimit {
    /// Of one IPv4 address, or of one IPv6 /64.
    pub per_address: Rate,
    /// How many of them at once. Absent: as many as the rate's number.
    pub burst: Option<u32>,
}

/// `[admin]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminSection {
    /// The port of `/metrics`, `/livez` and `/readyz`. Absent: 127.0.0.1:8081, and 8082 for
    /// `postern-dispatcher`.
    #[serde(default, deserialize_with = "listen::optional")]
    pub listen: Option<SocketAddr>,
    /// What must be shown for all but `/livez` and `/readyz`, as `Authorization: Bearer …`. Absent: nothing, and
    /// `listen` is a loopback address.
    pub token: Option<SecretDigest>,
    /// Absent: without TLS.
    pub tls: Option<TlsFiles>,
}

impl AdminSection {
    /// Why this section may not listen on `address`; `None` where it may.
    pub fn exposes(&self, address: SocketAddr) -> Option<&'static str> {
        (self.token.is_none() && !address.ip().to_canonical().is_loopback()).then_some(
            "without admin.token, anyone who reaches this address could read the state of the gateway: set \
             admin.token = { env = \"POSTERN_ADMIN_TOKEN\" }, or listen on a loopback address such as \
             \"127.0.0.1:8081\"",
        )
    }
}

/// `[api]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiSection {
    /// A port of its own for `/v1`. Absent: on `ingress.listen`.
    #[serde(default, deserialize_with = "listen::optional")]
    pub listen: Option<SocketAddr>,
    /// Of that port; absent: without TLS.
    pub tls: Option<TlsFiles>,
    /// The most connections to that port. Absent: a quarter of what the limit of open files leaves room
    /// for, at most 20,000.
    pub max_connections: Option<usize>,
    /// Who may send and read. Without any, `/v1` answers only clients on this machine.
    pub keys: Vec<ApiKey>,
}

/// `[[api.keys]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// Who it is, for logs. Part of the ids that its `Idempotency-Key`s make: a key that takes the
    /// place of another has the same name.
    pub name: String,
    /// What they send as `Authorization: Bearer …`.
    key: Option<SecretDigest>,
    /// The same, where the configuration is not to hold the key itself. One of the two is there.
    #[serde(default, deserialize_with = "postern_shared::value::from_hex")]
    key_sha256: Option<SecretDigest>,
    /// The backends that they may send through, and whose messages they may read.
    pub backends: Selection,
    /// What they may do. At least one.
    #[serde(default = "Right::send")]
    pub may: Vec<Right>,
    /// When it ends to be taken. Absent: never.
    pub expires: Option<Moment>,
    /// How many requests it may make. Absent: any number.
    pub rate: Option<Rate>,
}

/// What the holder of an API key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Send messages.
    Send,
    /// Read what became of messages, with their texts and numbers, and what people wrote.
    Read,
}

impl Right {
    fn send() -> Vec<Self> {
        vec![Self::Send]
    }

    /// The name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Read => "read",
        }
    }
}

impl ApiKey {
    /// Whether its holder may do this.
    pub fn may(&self, right: Right) -> bool {
        self.may.contains(&right)
    }

    /// What the key is recognised by; `None` where the configuration says it twice or not at all,
    /// which [`Config::parse`](super::Config::parse) refuses.
    pub fn digest(&self) -> Option<&SecretDigest> {
        match (&self.key, &self.key_sha256) {
            (Some(digest), None) | (None, Some(digest)) => Some(digest),
            _ => None,
        }
    }

    /// Whether it is not taken any more.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end.0 <= now)
    }
}

/// `[dispatcher]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DispatcherSection {
    /// Which backends' queues this process serves.
    pub backends: Selection,
    /// Sends in flight for each backend, 1 to 2,000.
    pub concurrency: u16,
    /// How often a message may be taken without being settled before it is dead-lettered with the code
    /// `poison`, 2 to 100.
    pub max_deliveries: u32,
}

/// `[log]`: log lines, and the message log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSection {
    /// How lines look.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,lapin=warn`.
    pub level: String,
    /// Whether there is a message log. Absent: if the broker is embedded, or `url` is there.
    pub messages: Option<bool>,
    /// Where the message log is: `sqlite:DIR` or `postgres://…`. A secret: it holds a password.
    pub url: Option<Secret>,
    /// What it keeps of a message.
    pub keep: Keep,
    /// How long it keeps it.
    pub retention: Period,
    /// The most bytes that it may take.
    pub max_bytes: u64,
    /// The most messages that `postern.log` holds.
    pub max_waiting: u64,
    /// What numbers are hashed with.
    pub hash_key: Option<Secret>,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `human` on a terminal, `json` otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// `[shutdown]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShutdownSection {
    /// How long what is in flight may take to finish after SIGTERM.
    pub deadline: Span,
}

/// Some backends by name, all of them (`["*"]`), or all but some (`["*", "!clinic"]`; `"*"` may be left out).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub enum Selection {
    /// All.
    All,
    /// These.
    Some(Vec<BackendName>),
    /// All but these.
    AllBut(Vec<BackendName>),
}

impl Selection {
    /// Whether `backend` is one of them.
    pub fn contains(&self, backend: &BackendName) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.contains(backend),
            Self::AllBut(names) => !names.contains(backend),
        }
    }

    /// The names in it, also those that it leaves out. Empty for all.
    pub fn names(&self) -> &[BackendName] {
        match self {
            Self::All => &[],
            Self::Some(names) | Self::AllBut(names) => names,
        }
    }
}

impl TryFrom<Vec<String>> for Selection {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        let wrong = |why: String| {
            format!("must be [\"*\"], a list of names, or [\"*\", \"!name\"] for all but some: {why}")
        };
        let all = names.iter().any(|name| name == "*");
        let (excluded, included): (Vec<_>, Vec<_>) =
            names.iter().filter(|name| *name != "*").partition(|name| name.starts_with('!'));
        let read = |name: &str| BackendName::try_from(name.trim_start_matches('!').to_owned());
        if let (false, [name, ..], [other, ..]) = (all, &included[..], &excluded[..]) {
            return Err(wrong(format!("it contains {name}, so remove {other}")));
        }
        if excluded.is_empty() && all {
            return Ok(Self::All);
        }
        let (of, chosen): (fn(_) -> _, _) =
            if excluded.is_empty() { (Self::Some, included) } else { (Self::AllBut, excluded) };
        let chosen = chosen.into_iter().map(|name| read(name)).collect::<Result<_, _>>();
        chosen.map(of).map_err(|rule| wrong(rule.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_is_all_some_or_all_but_some() {
        let contains = |list: &[&str]| {
            let selection = Selection::try_from(list.iter().map(ToString::to_string).collect::<Vec<_>>())?;
            Ok(["a", "b", "c"].map(|name| selection.contains(&name.parse().unwrap())))
        };
        assert_eq!(contains(&["*"]), Ok([true; 3]));
        assert_eq!(contains(&["a", "c"]), Ok([true, false, true]));
        for all_but in [&["*", "!b"][..], &["!b"], &["!b", "*", "a"]] {
            assert_eq!(contains(all_but), Ok([true, false, true]), "{all_but:?}");
        }
        assert_eq!(contains(&["!a", "!b"]), Ok([false, false, true]));
        assert_eq!(contains(&[]), Ok([false; 3]));
        for wrong in [&["a", "!b"][..], &["!"], &["!B"], &["no name"], &["* "]] {
            let why: String = contains(wrong).unwrap_err();
            assert!(why.contains("[\"*\", \"!name\"]"), "{wrong:?}: {why}");
        }
    }
}
