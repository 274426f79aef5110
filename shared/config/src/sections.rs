//! The sections of a configuration file, except the backends. Their defaults are in `deploy/default.toml`,
//! which is the base of every configuration.

use crate::{listen, spool::SpoolSection, tls_files::TlsFiles};
use jiff::Timestamp;
use postern_shared::{
    event::Keep,
    value::{BackendSelection, Moment, Networks, Period, Rate, Secret, SecretDigest, Span, Window},
};
use serde::Deserialize;
use std::net::SocketAddr;

/// `[broker]`: where the queues are, and their limits.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerSection {
    /// `embedded:DIR`, `amqp://…` or `amqps://…`. A secret: it holds a password.
    pub url: Secret,
    /// How long a publish may take, its confirm included.
    pub publish_timeout: Span,
    /// The most reports that `postern.reports` keeps. Beyond, the oldest are dropped.
    pub max_reports: u64,
    /// The most callbacks that wait in each of their queues. Beyond, the oldest are dropped.
    pub max_callbacks: u64,
    /// The most messages that wait in `postern.inbound` and in each of a backend's two queues. Further
    /// publishes are refused. Absent: no limit.
    pub max_messages: Option<u64>,
    /// For the embedded broker and the spool: the free bytes on the disk below which nothing more is accepted.
    pub min_free_disk: u64,
}

impl BrokerSection {
    /// Whether the broker is embedded in the process. No other process can use it then.
    pub fn is_embedded(&self) -> bool {
        self.url.expose().starts_with("embedded:")
    }
}

/// `[ingress]`: the public port and its limits.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngressSection {
    /// The public port.
    #[serde(deserialize_with = "listen::required")]
    pub listen: SocketAddr,
    /// The certificate of the public port. Absent: no TLS.
    pub tls: Option<TlsFiles>,
    /// The scheme, host and path by which providers reach the public port, without a `/` at the end.
    pub public_url: Option<String>,
    /// The largest body, in bytes.
    pub max_body: usize,
    /// The most parameters of one request.
    pub max_fields: usize,
    /// The most messages and delivery reports in one request to a backend with `each`. 1 to 10,000.
    pub max_items: usize,
    /// The longest name of a parameter, in bytes.
    pub max_key: usize,
    /// The longest value of a parameter, in bytes.
    pub max_value: usize,
    /// How long a client may take to send its headers, and then its body.
    pub read_timeout: Span,
    /// The number of threads that serve requests; 0: one for each core.
    pub workers: usize,
    /// The most connections to `listen`. Absent: as many as the limit of open files leaves room for, at most
    /// 20,000.
    pub max_connections: Option<usize>,
    /// The most connections from one IPv4 address or one IPv6 /64, to `listen` and to `api.listen` each. Loopback
    /// addresses and `trusted_proxies` are not limited.
    pub max_connections_per_address: usize,
    /// The proxies in front of the public port that are trusted to name their clients.
    #[serde(default)]
    pub trusted_proxies: Networks,
    /// The header in which these proxies name their clients.
    pub client_header: ClientHeader,
    /// How many unproven requests one address may make. Absent: any number.
    pub rate_limit: Option<AddressLimit>,
    /// How long a message that a provider repeats is acknowledged without being queued again, and how long an
    /// `Idempotency-Key` is remembered. `receive.dedupe` says what a repetition is; by default, a message with
    /// the same backend, `external_id`, identity and text. 0: a repeated message is always queued again.
    pub dedupe_window: Window,
    /// The spool, in which messages are stored while the broker accepts none.
    #[serde(default)]
    pub spool: SpoolSection,
}

/// The header in which proxies name their client. Each of several proxies adds its client on the right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ClientHeader {
    /// A list of addresses with commas between them.
    #[serde(rename = "X-Forwarded-For")]
    XForwardedFor,
    /// The header of RFC 7239.
    Forwarded,
}

/// `ingress.rate_limit`: the limit of unproven requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddressLimit {
    /// The limit for one IPv4 address or one IPv6 /64.
    pub per_address: Rate,
    /// How many requests may come at the same time. Absent: the number in the rate.
    pub burst: Option<u32>,
}

/// `[admin]`: the port for operators.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminSection {
    /// The port of `/metrics`, `/livez` and `/readyz`. Absent: 127.0.0.1:8081, and 8082 for `postern-dispatcher`.
    #[serde(default, deserialize_with = "listen::optional")]
    pub listen: Option<SocketAddr>,
    /// The token (`Authorization: Bearer …`) that everything but `/livez` and `/readyz` requires. Absent: none
    /// is required, and `listen` must be a loopback address.
    pub token: Option<SecretDigest>,
    /// The certificate of this port. Absent: no TLS.
    pub tls: Option<TlsFiles>,
}

impl AdminSection {
    /// Why this port may not listen on `address`. `None` if it may.
    pub fn exposes(&self, address: SocketAddr) -> Option<&'static str> {
        (self.token.is_none() && !address.ip().to_canonical().is_loopback()).then_some(
            "without admin.token, anyone who reaches this address could read the state of the gateway: set \
             admin.token = { env = \"POSTERN_ADMIN_TOKEN\" }, or listen on a loopback address such as \
             \"127.0.0.1:8081\"",
        )
    }
}

/// `[api]`: who may use `/v1`, and on which port.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiSection {
    /// A separate port for `/v1`. Absent: `/v1` is on `ingress.listen`.
    #[serde(default, deserialize_with = "listen::optional")]
    pub listen: Option<SocketAddr>,
    /// The certificate of that port. Absent: no TLS.
    pub tls: Option<TlsFiles>,
    /// The most connections to that port. Absent: a quarter of what the limit of open files leaves room for, at
    /// most 20,000.
    pub max_connections: Option<usize>,
    /// The keys of clients that may send and read. Without any key, `/v1` answers only clients on this machine.
    pub keys: Vec<ApiKey>,
}

/// `[[api.keys]]`: a client of `/v1`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKey {
    /// The client's name, for logs. It is part of the message ids that are made from an `Idempotency-Key`, so a
    /// key that replaces another must have the same name.
    pub name: String,
    /// The key, which the client sends as `Authorization: Bearer …`.
    key: Option<SecretDigest>,
    /// The SHA-256 of the key, for a configuration that is not to hold the key itself. Exactly one of the two
    /// is there.
    #[serde(default, deserialize_with = "postern_shared::value::from_hex")]
    key_sha256: Option<SecretDigest>,
    /// The backends that the client may send through, and whose messages it may read.
    pub backends: BackendSelection,
    /// What the client may do. At least one right.
    #[serde(default = "Right::send")]
    pub may: Vec<Right>,
    /// When the key expires. Absent: never.
    pub expires: Option<Moment>,
    /// How many requests the client may make. Absent: any number.
    pub rate: Option<Rate>,
}

/// What the holder of an API key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Right {
    /// Send messages.
    Send,
    /// Read the states of messages, with texts and numbers, and what people wrote.
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
    /// Whether the client has this right.
    pub fn may(&self, right: Right) -> bool {
        self.may.contains(&right)
    }

    /// The digest that the key is recognized by. `None` if the configuration has both `key` and `key_sha256` or
    /// neither, which [`Config::parse`](super::Config::parse) refuses.
    pub fn digest(&self) -> Option<&SecretDigest> {
        match (&self.key, &self.key_sha256) {
            (Some(digest), None) | (None, Some(digest)) => Some(digest),
            _ => None,
        }
    }

    /// Whether the key has expired at `now`.
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|end| end.0 <= now)
    }
}

/// `[dispatcher]`: how this process sends.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DispatcherSection {
    /// The backends whose queues this process serves.
    pub backends: BackendSelection,
    /// The most sends in flight for each backend, 1 to 2,000.
    pub concurrency: u16,
    /// How often a message may be consumed without being acknowledged before it is dead-lettered with the code
    /// `poison`, 2 to 100.
    pub max_deliveries: u32,
}

/// `[log]`: log lines, and the message log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSection {
    /// The format of log lines.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,lapin=warn`.
    pub level: String,
    /// Whether there is a message log. Absent: if the broker is embedded, or `url` is there.
    pub messages: Option<bool>,
    /// Where the message log is: `sqlite:DIR` or `postgres://…`. A secret: it holds a password.
    pub url: Option<Secret>,
    /// What the message log keeps of a message.
    pub keep: Keep,
    /// How long the message log keeps a message.
    pub retention: Period,
    /// The most bytes that the message log may take. Beyond them, the oldest messages are removed.
    pub max_bytes: u64,
    /// The most messages that the queue `postern.log` holds. Beyond them, the oldest are dropped and are missing
    /// from the log.
    pub max_waiting: u64,
    /// The key that numbers are hashed with if `keep` is `states`.
    pub hash_key: Option<Secret>,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `human` on a terminal, `json` otherwise.
    Auto,
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

/// `[shutdown]`: how the process ends.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShutdownSection {
    /// How long work in flight may take to finish after SIGTERM.
    pub deadline: Span,
}
