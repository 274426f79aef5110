//! The configuration of a backend: how its requests are received ([`receive`]) and what they must prove
//! ([`auth`]), what it sends through ([`connector`], [`send`], [`send_auth`]) and to whom ([`identity`],
//! [`region`]), how its texts are prepared ([`TextPolicy`]), what its delivery reports mean ([`status`]), and
//! how its provider is asked for them ([`poll`]). A provider's file under `shared/providers/` has the same
//! keys, and a `[backends.NAME]` table is laid over it.

pub mod auth;
pub mod batch;
pub mod challenge;
pub mod check;
pub mod codec;
pub mod connector;
pub mod dates;
pub mod dedupe;
pub mod each;
pub mod expression;
pub mod field;
pub mod flow;
pub mod http;
pub mod identity;
pub mod media;
pub mod nested;
pub mod poll;
pub mod provider_tls;
pub mod receive;
pub mod region;
pub mod send;
pub mod send_auth;
pub mod status;
pub mod template;
pub(crate) mod userinfo;

use challenge::Challenge;
use codec::Codec;
use connector::ConnectorConfig;
use expression::When;
use flow::{BreakerSection, BreakerTable, RateLimit, RetrySection};
use poll::PollTable;
use postern_shared::{
    message::{BackendName, Identity},
    text::policy::TextPolicy,
    value::{OneOrMany, Secret, Settings},
};
use receive::Receive;
use region::NumberRegion;
use serde::{Deserialize, de::IgnoredAny};
use status::Status;

/// A `[backends.NAME]` table, laid over its type's file.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The type: the name of a file in `shared/providers/`, or a name that a custom program registered.
    pub kind: String,
    /// What the backend sends through.
    pub connector: ConnectorConfig,
    /// How the provider's requests are received.
    pub receive: Receive,
    /// Whether there is a `receive` table. The backend receives without one, too.
    pub says_receive: bool,
    /// How delivery reports are read. `None` if the backend has none.
    pub status: Option<Status>,
    /// How the provider is asked what became of messages. `None`: it is not asked.
    pub poll: Option<PollTable>,
    /// How texts are prepared for the provider.
    pub text: TextPolicy,
    /// The region by which numbers are converted to E.164. `None`: identities are not changed.
    pub region: Option<NumberRegion>,
    /// The type's own settings.
    pub settings: Settings,
    /// The settings that must be there. If an entry is a list, one setting of the list suffices.
    pub required_settings: Vec<OneOrMany>,
    /// The backend's own delays. `None`: those of `[retry]`.
    pub retry: Option<RetrySection>,
    /// The backend's own number of sends in flight. `None`: `dispatcher.concurrency`.
    pub concurrency: Option<u16>,
    /// How far the number of sends in flight may grow, beginning at `concurrency`, while more of them get more
    /// messages through. At least twice `concurrency`. `None`: the number is fixed.
    pub concurrency_max: Option<u16>,
    /// The provider's limit. `None`: only `concurrency` limits how fast messages are sent.
    pub rate: Option<RateLimit>,
    /// The backend's own circuit breaker. `None`: that of `[breaker]`.
    pub breaker: Option<BreakerTable>,
}

/// The table in the form in which it is read, without the keys that the connector's kind reads.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DefinitionTable {
    #[serde(rename = "type")]
    kind: String,
    /// Read by `crate::connector`.
    #[serde(default, rename = "connector")]
    _connector: IgnoredAny,
    /// Read by `crate::connector`.
    #[serde(default, rename = "send")]
    _send: IgnoredAny,
    receive: Option<Receive>,
    status: Option<Status>,
    poll: Option<PollTable>,
    #[serde(default)]
    text: TextPolicy,
    region: Option<NumberRegion>,
    #[serde(default)]
    settings: Settings,
    #[serde(default)]
    required_settings: Vec<OneOrMany>,
    retry: Option<RetrySection>,
    concurrency: Option<u16>,
    concurrency_max: Option<u16>,
    rate: Option<RateLimit>,
    breaker: Option<BreakerTable>,
}

impl Definition {
    /// The expressions that decide what a provider's request brings.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = &When> {
        let Receive { when, challenge, .. } = &self.receive;
        let reports = self.status.as_ref().and_then(|status| status.when.as_ref());
        when.iter().chain(challenge.as_ref().map(Challenge::when)).chain(reports)
    }

    /// The codecs that decode and encode the backend's texts, each once.
    pub(crate) fn codecs(&self) -> impl Iterator<Item = Codec> {
        let receive = self.receive.codec;
        let send = self.connector.http().and_then(|send| send.codec).filter(|send| receive != Some(*send));
        receive.into_iter().chain(send)
    }
}

impl DefinitionTable {
    /// The whole definition, with `connector`.
    pub(crate) fn with(self, connector: ConnectorConfig) -> Definition {
        Definition {
            kind: self.kind,
            connector,
            says_receive: self.receive.is_some(),
            receive: self.receive.unwrap_or_default(),
            status: self.status,
            poll: self.poll,
            text: self.text,
            region: self.region,
            settings: self.settings,
            required_settings: self.required_settings,
            retry: self.retry,
            concurrency: self.concurrency,
            concurrency_max: self.concurrency_max,
            rate: self.rate,
            breaker: self.breaker,
        }
    }
}

impl Definition {
    /// The identity that `written` stands for: the sender of an inbound message or the recipient of an outbound
    /// one.
    pub fn identity(&self, written: Identity) -> Identity {
        match self.region {
            Some(region) => region.identity(&written),
            None => written,
        }
    }
}

/// A backend: one account at one provider.
#[derive(Debug, Clone)]
pub struct BackendConfig {
    /// The backend's name.
    pub name: BackendName,
    /// The backend's table and its type's file.
    pub definition: Definition,
    /// How long to wait before each further attempt.
    pub retry: RetrySection,
    /// The most sends in flight.
    pub concurrency: u16,
    /// The lower bound of the number of sends in flight: equal to `concurrency` unless `concurrency_max` is set.
    pub concurrency_min: u16,
    /// The circuit breaker, which decides when sending pauses.
    pub breaker: BreakerSection,
    /// The address for delivery reports, as the provider sees it. `None` without `ingress.public_url` or without a
    /// `status` table. A secret: it may hold the provider's token.
    pub status_url: Option<Secret>,
}

impl BackendConfig {
    /// The path of the address for delivery reports, without scheme and host. It may hold a secret, too.
    pub fn status_path(&self) -> String {
        let token = self.definition.receive.auth.path_token(&self.definition.settings);
        let token = token.map_or(String::new(), |token| format!("/{}", token.expose()));
        format!("/backends/{}{token}/status", self.name)
    }
}
