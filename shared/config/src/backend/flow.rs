//! How fast Postern sends through a backend, and when sending pauses: `rate` and `breaker`.
//!
//! A rate counts recipients, even if a request has many of them: most providers limit messages. For providers
//! that limit requests there is `count = "requests"`.

use postern_shared::value::{Rate, Span};
use serde::{
    Deserialize, Deserializer,
    de::{self, value::MapAccessDeserializer},
};
use std::fmt;

/// A provider's limit: `[backends.NAME] rate`, as a text (`"50/s"`) or as a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    /// The most that is sent in a span of time, by all processes together.
    pub limit: Rate,
    /// How many may be sent at the same time after a pause, by all processes together, 1 to 10,000. Default:
    /// what the limit allows in a tenth of a second, at least one.
    pub burst: Option<u32>,
    /// What the limit counts.
    pub count: Counted,
}

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Counted {
    /// Each recipient once, even if one request has many of them.
    #[default]
    Messages,
    /// Each recipient as many times as the text has segments.
    Segments,
    /// Each request once, regardless of its recipients.
    Requests,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateTable {
    limit: Rate,
    burst: Option<u32>,
    #[serde(default)]
    count: Counted,
}

impl<'de> Deserialize<'de> for RateLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RateLimitVisitor)
    }
}

struct RateLimitVisitor;

impl<'de> de::Visitor<'de> for RateLimitVisitor {
    type Value = RateLimit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a rate such as \"50/s\", \"100/min\" or \"1000/h\", at most a million, or { limit = \"50/s\", … }",
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<RateLimit, E> {
        let limit = Rate::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))?;
        Ok(RateLimit { limit, burst: None, count: Counted::default() })
    }

    fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<RateLimit, A::Error> {
        let RateTable { limit, burst, count } = RateTable::deserialize(MapAccessDeserializer::new(map))?;
        Ok(RateLimit { limit, burst, count })
    }
}

/// `[retry]`: when a failed attempt is retried.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetrySection {
    /// How long to wait before each further attempt. After the last one, the message is dead-lettered.
    pub delays: Vec<Span>,
}

/// `[breaker]`: when sending through a backend pauses because its provider is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerSection {
    /// How many failed sends in a row (no connection, no answer, a 5xx) begin the pause; 0: never.
    pub failures: u32,
    /// The first pause. Each further one is twice as long, until a send succeeds.
    pub pause: Span,
    /// The longest pause.
    pub max_pause: Span,
}

/// A backend's own `breaker`. Keys that are absent are taken from `[breaker]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BreakerTable {
    /// See [`BreakerSection::failures`].
    pub failures: Option<u32>,
    /// See [`BreakerSection::pause`].
    pub pause: Option<Span>,
    /// See [`BreakerSection::max_pause`].
    pub max_pause: Option<Span>,
}

impl BreakerTable {
    /// The whole breaker, with `general` for the keys that are absent here.
    pub fn over(self, general: BreakerSection) -> BreakerSection {
        BreakerSection {
            failures: self.failures.unwrap_or(general.failures),
            pause: self.pause.unwrap_or(general.pause),
            max_pause: self.max_pause.unwrap_or(general.max_pause),
        }
    }
}
