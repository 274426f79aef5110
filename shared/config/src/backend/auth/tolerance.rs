//! How far the time in a signed request may be from ours.

use postern_shared::value::Span;
use serde::{Deserialize, Deserializer, de};
use std::time::Duration;

/// The longest tolerance.
const MAX: Duration = Duration::from_secs(24 * 3600);

/// How far a time may be from ours, before or after: longer than 0, at most 24 hours. Default: 5 minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tolerance(pub Duration);

impl Default for Tolerance {
    fn default() -> Self {
        Self(Duration::from_secs(300))
    }
}

impl<'de> Deserialize<'de> for Tolerance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Span(span) = Span::deserialize(deserializer)?;
        if span.is_zero() || span > MAX {
            return Err(de::Error::custom("must be longer than 0 and at most 24h"));
        }
        Ok(Self(span))
    }
}
