//! What a configuration says of a backend: how its requests are received ([`receive`]) and what they
//! must prove ([`auth`]), what it sends through ([`connector`], [`send`], [`send_auth`]) and to whom ([`identity`], [`region`]), how its texts are made ready ([`TextPolicy`]),
//! what its delivery reports mean ([`status`]), how its provider is asked for them ([`poll`]). A provider's file under `shared/providers/` is the
//! same, with a `[backends.NAME]` table laid over it.

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

/// A `[backends.NAME]` table over its type's file.
#[derive(Debug, Clone)]
pub struct Definition {
    /// The type: a file in `shared/providers/`, or a name registered by a program of one's own.
    pub kind: String,
    /// What it sends through.
    pub connector: ConnectorConfig,
    /// How its requests are received.
    pub receive: Receive,
    /// Whether its `receive` table is there. Without one it receives all the same.
    pub says_receive: bool,
    /// How its delivery reports are read. `None` if it has none.
    pub status: Option<Status>,
    /// How its provider is asked what became of messages. `None`: it is not.
    pub poll: Option<PollTable>,
    /// How its texts are made ready for its provider.
    pub text: TextPolicy,
    /// The region of its numbers, in which every number is made E.164. `None`: identities are as they are written.
    pub region: Option<NumberRegion>,
    /// The type's own settings.
    pub settings: Settings,
    /// The settings that must be there; of several in one place, at least one.
    pub required_settings: Vec<OneOrMany>,
    /// Its own delays. `None`: those of `[retry]`.
    pub retry: Option<RetrySection>,
    /// Its own number of sends in flight. `None`: `dispatcher.concurrency`.
    pub concurrency: Option<u16>,
    /// The most sends in flight if more of them get more messages through, at least twice
    /// `concurrency`, with which it begins. `None`: `concurrency` is a fixed number.
    pub concurrency_max: Option<u16>,
    /// The most that its provider takes. `None`: as much as `concurrency` lets through.
    pub rate: Option<RateLimit>,
    /// Its own circuit breaker. `None`: that of `[breaker]`.
    pub breaker: Option<BreakerTable>,
}

/// The table as it is written, without what the connector's kind reads of it.
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
    /// The expressions that choose between what a provider's requests bring.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = &When> {
        let Receive { when, challenge, .. } = &self.receive;
        let reports = self.status.as_ref().and_then(|status| status.when.as_ref());
        when.iter().chain(challenge.as_ref().map(Challenge::when)).chain(reports)
    }

    /// What decodes and encodes its texts, each once.
    pub(crate) fn codecs(&self) -> impl Iterator<Item = Codec> {
        let receive = self.receive.codec;
        let send = self.connector.http().and_then(|send| send.codec).filter(|send| receive != Some(*send));
        receive.into_iter().chain(send)
    }
}

impl DefinitionTable {
    /// The whole definition, which sends through `connector`.
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
    /// The identity that is meant by `written`, of somebody who writes or is written to.
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
    /// Its name.
    pub name: BackendName,
    /// What the configuration says of it.
    pub definition: Definition,
    /// How long to wait before each further attempt.
    pub retry: RetrySection,
    /// The most sends in flight.
    pub concurrency: u16,
    /// The fewest that it limits itself to: the same, unless it follows the provider.
    pub concurrency_min: u16,
    /// When sending pauses.
    pub breaker: BreakerSection,
    /// Where its provider sends delivery reports, as the provider sees it; absent without
    /// `ingress.public_url` or a `status` table. A secret: it may hold the provider's token.
    pub status_url: Option<Secret>,
}

impl BackendConfig {
    /// The path of that address, below whatever scheme and host. It may hold a secret, too.
    pub fn status_path(&self) -> String {
        let token = self.definition.receive.auth.path_token(&self.definition.settings);
        let token = token.map_or(String::new(), |token| format!("/{}", token.expose()));
        format!("/backends/{}{token}/status", self.name)
    }
}
