//! Kinds of values that several sections use.

use jiff::{SignedDuration, SpanRelativeTo, Timestamp};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use std::{fmt, time::Duration};

/// The most sends in flight for each backend, and the most deliveries in flight to the webhook and of
/// callbacks. RabbitMQ prefetches no more messages on a quorum queue.
pub const MAX_CONCURRENCY: u16 = 2_000;

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

/// A [`Span`] that may be 0: off. In TOML `0` or `"0"`, else as a [`Span`] is written.
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

/// So many in a time, as people write it: `50/s`, `100/min`, `1000/h`. At most a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// In which time: a second, a minute or an hour.
    pub per: Duration,
}

impl Rate {
    const MAX: u32 = 1_000_000;

    /// The time for one of them.
    pub fn interval(self) -> Duration {
        self.per / self.count
    }

    /// How many in a second.
    pub fn per_second(self) -> f64 {
        f64::from(self.count) / self.per.as_secs_f64()
    }

    /// Reads `50/s`, `100/min` or `1000/h`; `None` if it is no rate.
    pub fn parse(text: &str) -> Option<Self> {
        let (count, unit) = text.split_once('/')?;
        let seconds = match unit.trim() {
            "s" => 1,
            "min" => 60,
            "h" => 3_600,
            _ => return None,
        };
        let count = count.trim();
        let number = count.bytes().all(|byte| byte.is_ascii_digit()).then(|| count.parse().ok())??;
        (1..=Self::MAX).contains(&number).then_some(Self { count: number, per: Duration::from_secs(seconds) })
    }
}

/// As people write it.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.per.as_secs() {
            60 => "min",
            3_600 => "h",
            _ => "s",
        };
        write!(f, "{}/{unit}", self.count)
    }
}

impl TryFrom<Value> for Rate {
    type Error = &'static str;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        let rate = value.as_str().and_then(Self::parse);
        rate.ok_or("must be a rate such as \"50/s\", \"100/min\" or \"1000/h\", at most a million")
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

/// One text or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOrMany(pub Vec<String>);

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wrong = || de::Error::custom("must be a string or a list of strings");
        match Value::deserialize(deserializer)? {
            Value::String(one) => Ok(Self(vec![one])),
            Value::Array(many) => many
                .into_iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
                .collect::<Result<_, _>>()
                .map(Self),
            _ => Err(wrong()),
        }
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
    fn rates_are_written_as_people_write_them() {
        for (text, count, seconds) in
            [("50/s", 50, 1), ("100/min", 100, 60), ("10/h", 10, 3_600), ("1000000 / s", 1_000_000, 1)]
        {
            let rate: Rate = serde_json::from_value(json!(text)).unwrap();
            assert_eq!(rate, Rate { count, per: Duration::from_secs(seconds) }, "{text}");
        }
        assert!((Rate { count: 90, per: Duration::from_secs(60) }.per_second() - 1.5).abs() < 1e-9);
        for wrong in [
            json!("50"),
            json!(50),
            json!("0/s"),
            json!("-1/s"),
            json!("+1/s"),
            json!("1.5/s"),
            json!("50/d"),
            json!("/s"),
            json!("1000001/s"),
            json!("99999999999/s"),
            json!(""),
            json!(true),
        ] {
            let why = serde_json::from_value::<Rate>(wrong.clone()).unwrap_err().to_string();
            assert!(why.contains("\"50/s\""), "{wrong}: {why}");
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
