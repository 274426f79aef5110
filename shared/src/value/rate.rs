//! Limits on how many things happen in a unit of time, and how many at a time.

use serde::Deserialize;
use serde_json::Value;
use std::{fmt, time::Duration};

/// The most sends in flight for each backend, and the most webhook requests and the most callbacks in
/// flight. RabbitMQ prefetches no more messages from a quorum queue.
pub const MAX_CONCURRENCY: u16 = 2_000;

/// A number in a unit of time, as people write it: `50/s`, `100/min`, `1000/h`. The number is at most a
/// million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Value")]
pub struct Rate {
    /// How many; at least 1.
    pub count: u32,
    /// The unit of time: a second, a minute or an hour.
    pub per: Duration,
}

impl Rate {
    const MAX: u32 = 1_000_000;

    /// The time for each one: the unit of time divided by the number.
    pub fn interval(self) -> Duration {
        self.per / self.count
    }

    /// The number in a second.
    pub fn per_second(self) -> f64 {
        f64::from(self.count) / self.per.as_secs_f64()
    }

    /// Reads `50/s`, `100/min` or `1000/h`. `None` if `text` is not a rate.
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

/// Writes the rate as people do: `50/s`.
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
}
