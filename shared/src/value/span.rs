//! Spans of time and moments, as people write them.

use jiff::{SignedDuration, SpanRelativeTo, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use std::time::Duration;

/// A span of time as people write it: `500ms`, `10s`, `2m`, `1h`, `1h 30m`. At most 30 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Value")]
pub struct Span(pub Duration);

impl Span {
    const MAX: Duration = Duration::from_secs(30 * 24 * 3600);

    fn parse(text: &str) -> Option<Self> {
        let span = text.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok())?;
        (span <= Self::MAX && !text.starts_with(['P', 'p'])).then_some(Self(span))
    }
}

impl TryFrom<Value> for Span {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        let span = value.as_str().and_then(Self::parse);
        span.ok_or("must be a time such as \"500ms\", \"10s\", \"2m\" or \"1h\", at most 30 days")
    }
}

/// A [`Span`] that may be 0, which means off. In TOML, `0`, `"0"` or a text like that of a [`Span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub struct Window(pub Duration);

impl TryFrom<Value> for Window {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        if value == 0 || value == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let span = value.as_str().and_then(Span::parse);
        span.map(|span| Self(span.0))
            .ok_or("must be 0, or a time such as \"500ms\", \"10s\", \"2m\" or \"1h\", at most 30 days")
    }
}

/// How long something is kept, as people write it: `12h`, `7d`, `4w`. A day has 24 hours. At least a minute, at
/// most 10 years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Value")]
pub struct Period(pub Duration);

impl Period {
    const MIN: Duration = Duration::from_secs(60);
    const MAX: Duration = Duration::from_secs(3653 * 24 * 3600);

    fn parse(text: &str) -> Option<Self> {
        let span = text.parse::<jiff::Span>().ok().filter(|_| !text.starts_with(['P', 'p']))?;
        let span = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
        let span = Duration::try_from(span).ok()?;
        (Self::MIN..=Self::MAX).contains(&span).then_some(Self(span))
    }
}

impl TryFrom<Value> for Period {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        let period = value.as_str().and_then(Self::parse);
        period.ok_or("must be a time such as \"12h\", \"7d\" or \"4w\", at least a minute and at most 3653d")
    }
}

/// A moment as RFC 3339 writes it: `2026-12-01T00:00:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Value")]
pub struct Moment(pub Timestamp);

impl TryFrom<Value> for Moment {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        let moment = value.as_str().and_then(|text| text.parse().ok());
        moment.map(Self).ok_or("must be a time with a time zone, such as \"2026-12-01T00:00:00Z\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_window_may_be_nothing() {
        for (value, seconds) in [(json!(0), 0), (json!("0"), 0), (json!("0s"), 0), (json!("10m"), 600)] {
            let window: Window = serde_json::from_value(value.clone()).unwrap();
            assert_eq!(window.0, Duration::from_secs(seconds), "{value}");
        }
        for wrong in [json!(1), json!(-1), json!("soon"), json!(true)] {
            let why = serde_json::from_value::<Window>(wrong.clone()).unwrap_err().to_string();
            assert!(why.contains("must be 0, or a time"), "{wrong}: {why}");
        }
    }

    #[test]
    fn a_moment_has_a_zone() {
        let read = |text: &str| serde_json::from_value::<Moment>(json!(text));
        assert_eq!(read("2026-12-01T01:00:00+01:00").unwrap(), read("2026-12-01T00:00:00Z").unwrap());
        for wrong in ["2026-12-01", "2026-12-01T00:00:00", "tomorrow", ""] {
            assert!(read(wrong).unwrap_err().to_string().contains("with a time zone"), "{wrong}");
        }
    }

    #[test]
    fn times_are_written_as_people_write_them() {
        for (text, milliseconds) in [("500ms", 500), ("10s", 10_000), ("2m", 120_000), ("1h 30m", 5_400_000)]
        {
            let span: Span = serde_json::from_value(json!(text)).unwrap();
            assert_eq!(span.0, Duration::from_millis(milliseconds), "{text}");
        }
        for wrong in [json!("soon"), json!("-1s"), json!(5), json!("5"), json!("31d"), json!("PT5S")] {
            let why = serde_json::from_value::<Span>(wrong.clone()).unwrap_err();
            assert!(why.to_string().contains("\"10s\""), "{wrong}: {why}");
        }
    }
}
