//! What a configuration says of a backend: how its requests are received ([`receive`]) and what they
//! must prove ([`auth`]), how one sends through it ([`send`]), how long its texts may be ([`text`]),
//! what its delivery reports mean ([`status`]). A provider's file under `shared/providers/` is the
//! same, with a `[backends.NAME]` table laid over it.

pub mod auth;
pub mod check;
pub mod codec;
pub mod field;
pub mod flow;
pub mod receive;
pub mod send;
pub mod status;
pub mod template;
pub mod text;

use flow::{BreakerSection, BreakerTable, RateLimit, RetrySection};
use postern_shared::{
    message::BackendName,
    value::{OneOrMany, Secret, Settings},
};
use receive::Receive;
use send::Send;
use serde::Deserialize;
use status::Status;
use text::Text;

/// A `[backends.NAME]` table over its type's file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The type: a file in `shared/providers/`, or a name registered by a program of one's own.
    #[serde(rename = "type")]
    pub kind: String,
    /// The sender in Rust that interprets `send`: `http`, `console`, or a registered name.
    pub engine: String,
    /// How its requests are received.
    #[serde(default)]
    pub receive: Receive,
    /// How its delivery reports are read; absent for one that has none.
    pub status: Option<Status>,
    /// How one sends through it; absent for a backend that only receives, or whose engine needs none.
    pub send: Option<Send>,
    /// How its texts are made ready for its provider.
    #[serde(default)]
    pub text: Text,
    /// The type's own settings.
    #[serde(default)]
    pub settings: Settings,
    /// The settings that must be there; of several in one place, at least one.
    #[serde(default)]
    pub required_settings: Vec<OneOrMany>,
    /// Its own delays; absent: `[retry]`.
    pub retry: Option<RetrySection>,
    /// Its own number of sends in flight; absent: `dispatcher.concurrency`.
    pub concurrency: Option<u16>,
    /// Up to so many sends in flight, where more of them get more messages through, beginning with
    /// `concurrency`, of which it is at least twice as many. Absent: that is a fixed number.
    pub concurrency_max: Option<u16>,
    /// The most that its provider takes; absent: as much as `concurrency` lets through.
    pub rate: Option<RateLimit>,
    /// Its own circuit breaker; absent: `[breaker]`.
    pub breaker: Option<BreakerTable>,
}

impl Definition {
    /// Whether there is anything to send with.
    pub fn sends(&self) -> bool {
        self.send.is_some() || self.engine != "http"
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
