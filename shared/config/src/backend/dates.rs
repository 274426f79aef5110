//! `receive.dates`, `status.dates`: how a provider writes dates.

use jiff::{
    Timestamp, civil,
    fmt::{rfc2822, strtime, temporal},
    tz::TimeZone,
};
use postern_shared::{clock::to_the_millisecond, value::OneOrMany};
use serde::{Deserialize, Deserializer, de};

/// How a provider writes dates, if the date itself does not show it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dates {
    /// The patterns of its dates, such as `%d/%m/%Y %H:%M`. They are tried in order, before the known forms.
    pub format: DateFormats,
    /// The time zone of dates that name none. Absent: UTC.
    pub timezone: Option<Zone>,
}

impl Dates {
    /// The time in `text`, to the millisecond. `None` if it is not a time.
    ///
    /// These forms need no pattern: RFC 3339, also with a blank before the time zone; RFC 2822; both also with
    /// a blank in place of the `+`, which an unescaped `+` in a form becomes; local time,
    /// `YYYY-MM-DD HH:MM[:SS]`; Unix time in seconds, with or without a fraction, or in milliseconds.
    pub fn read(&self, text: &str) -> Option<Timestamp> {
        let zone = self.timezone.as_ref().map_or(TimeZone::UTC, |zone| zone.0.clone());
        let by_pattern = || self.format.0.iter().find_map(|format| by_pattern(format, text, &zone));
        let local = || zone.to_timestamp(text.parse::<civil::DateTime>().ok()?).ok();
        let at = by_pattern().or_else(|| zoned(text)).or_else(local).or_else(|| zoned(&with_offset(text)?));
        at.or_else(|| unix_time(text)).map(to_the_millisecond)
    }
}

/// Reads a time with a time zone: RFC 3339 or RFC 2822.
fn zoned(text: &str) -> Option<Timestamp> {
    let rfc2822 = || rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text).ok();
    text.parse().ok().or_else(rfc2822)
}

/// `text` with its time zone as RFC 3339 writes it, if there is one after the last blank. The blank may have been
/// a `+`.
fn with_offset(text: &str) -> Option<String> {
    let (time, zone) = text.rsplit_once(' ').filter(|(time, _)| time.contains(':'))?;
    let is_offset = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
    match zone.strip_prefix(['+', '-']) {
        Some(offset) if is_offset(offset) => Some(format!("{time}{zone}")),
        None if is_offset(zone) => Some(format!("{time}+{zone}")),
        None if matches!(zone, "UTC" | "GMT" | "Z") => Some(format!("{time}Z")),
        _ => None,
    }
}

/// The time in `text` by the pattern `format`; the beginning of the day if the pattern has no time.
fn by_pattern(format: &str, text: &str, zone: &TimeZone) -> Option<Timestamp> {
    let read = strtime::parse(format, text).ok()?;
    if let Ok(at) = read.to_timestamp() {
        return Some(at);
    }
    let local = read.to_datetime().or_else(|_| read.to_date().map(civil::DateTime::from)).ok()?;
    zone.to_timestamp(local).ok()
}

/// Reads seconds since 1970, with or without a fraction, or milliseconds if as seconds they would be beyond the
/// year 5138.
fn unix_time(text: &str) -> Option<Timestamp> {
    const MOST_SECONDS: i64 = 99_999_999_999;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    match whole.parse().ok()? {
        seconds @ 0..=MOST_SECONDS => {
            let millisecond = format!("{fraction:0<3}").get(..3)?.parse::<i64>().ok()?;
            Timestamp::from_millisecond(1_000 * seconds + millisecond).ok()
        }
        milliseconds => Timestamp::from_millisecond(milliseconds).ok(),
    }
}

/// Patterns of dates in the syntax of `strftime`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DateFormats(Vec<String>);

impl<'de> Deserialize<'de> for DateFormats {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let OneOrMany(formats) = OneOrMany::deserialize(deserializer)?;
        match formats.iter().find_map(|format| format_problem(format)) {
            Some(why) => Err(de::Error::custom(why)),
            None => Ok(Self(formats)),
        }
    }
}

/// Why no date can be read by `format`. `None` if one can.
fn format_problem(format: &str) -> Option<String> {
    const EXAMPLE: &str = "such as \"%d/%m/%Y %H:%M:%S\"";
    let noon = civil::date(2026, 11, 22).at(12, 34, 56, 0);
    let Ok(noon) = noon.to_zoned(TimeZone::UTC) else { return None };
    let Ok(written) = strtime::format(format, &noon) else {
        return Some(format!("`{format}` is not a strftime pattern, {EXAMPLE}"));
    };
    let read = by_pattern(format, &written, &TimeZone::UTC);
    read.is_none()
        .then(|| format!("`{format}` does not determine the day: it needs day, month and year, {EXAMPLE}"))
}

/// A time zone: a name of the IANA database, or a fixed offset.
#[derive(Debug, Clone, PartialEq)]
pub struct Zone(TimeZone);

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        temporal::DateTimeParser::new().parse_time_zone(&name).map(Self).map_err(|_| {
            de::Error::custom(
                "unknown time zone; use a name such as \"Africa/Nairobi\", or an offset such as \"+03:00\"",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn dates(value: Value) -> Result<Dates, String> {
        serde_json::from_value(value).map_err(|why| why.to_string())
    }

    #[test]
    fn dates_are_read_as_providers_write_them() {
        let plain = json!({});
        let nairobi = json!({"timezone": "Africa/Nairobi"});
        let berlin = json!({"timezone": "Europe/Berlin"});
        let fixed = json!({"timezone": "-05:30"});
        let british = json!({"format": ["%d/%m/%Y %H:%M", "%d/%m/%y"], "timezone": "Europe/London"});
        let offset = json!({"format": "%Y%m%d%H%M%S%z"});
        let packed = json!({"format": "%Y%m%d%H%M%S", "timezone": "Africa/Nairobi"});
        let american = json!({"format": "%b %e, %Y %I:%M:%S %p"});
        for (dates_said, text, wanted) in [
            (&plain, "2026-11-22T20:00:00.123456+03:00", Some("2026-11-22T17:00:00.123Z")),
            (&plain, "2026-11-22 17:00:01", Some("2026-11-22T17:00:01Z")),
            (&plain, "Sun, 22 Nov 2026 17:00:00 +0000", Some("2026-11-22T17:00:00Z")),
            (&plain, "Mon, 22 Nov 2026 17:00:00 GMT", Some("2026-11-22T17:00:00Z")),
            (&plain, "2026-11-22T20:00:00 03:00", Some("2026-11-22T17:00:00Z")),
            (&plain, "2026-11-22 20:00:00 03:00", Some("2026-11-22T17:00:00Z")),
            (&plain, "2026-11-22 17:00:00.5 0000", Some("2026-11-22T17:00:00.500Z")),
            (&plain, "2026-11-22 20:00:00 +0300", Some("2026-11-22T17:00:00Z")),
            (&plain, "2026-11-22 17:00:00 UTC", Some("2026-11-22T17:00:00Z")),
            (&plain, "2026-11-22 17:00:00 noon", None),
            (&plain, "Sun, 22 Nov 2026 20:00:00  0300", Some("2026-11-22T17:00:00Z")),
            (&plain, "1795366800", Some("2026-11-22T17:00:00Z")),
            (&plain, "1795366800250", Some("2026-11-22T17:00:00.250Z")),
            (&plain, "22/11/2026 17:00", None),
            (&plain, "soon", None),
            (&nairobi, "2026-11-22 20:00:00", Some("2026-11-22T17:00:00Z")),
            (&nairobi, "2026-11-22T20:00", Some("2026-11-22T17:00:00Z")),
            // A date with its own time zone keeps it.
            (&nairobi, "2026-11-22T17:00:00Z", Some("2026-11-22T17:00:00Z")),
            (&nairobi, "1795366800", Some("2026-11-22T17:00:00Z")),
            (&berlin, "2026-11-22 18:00:00", Some("2026-11-22T17:00:00Z")),
            (&berlin, "2026-07-22 19:00:00", Some("2026-07-22T17:00:00Z")),
            (&fixed, "2026-11-22 11:30:00", Some("2026-11-22T17:00:00Z")),
            (&british, "22/07/2026 18:00", Some("2026-07-22T17:00:00Z")),
            (&british, "22/11/26", Some("2026-11-22T00:00:00Z")),
            (&british, "2026-11-22T17:00:00Z", Some("2026-11-22T17:00:00Z")),
            (&british, "31/02/2026 18:00", None),
            (&offset, "20261122200000+0300", Some("2026-11-22T17:00:00Z")),
            (&packed, "20261122200000", Some("2026-11-22T17:00:00Z")),
            (&american, "Nov 22, 2026 05:00:00 PM", Some("2026-11-22T17:00:00Z")),
        ] {
            let read = dates(dates_said.clone()).unwrap().read(text);
            assert_eq!(read, wanted.map(|at| at.parse().unwrap()), "{dates_said} {text}");
        }
    }

    #[test]
    fn a_pattern_or_a_zone_that_cannot_be_says_so() {
        for (value, says) in [
            (json!({"format": "%H:%M"}), "does not determine the day"),
            (json!({"format": ["%d.%m.%Y", "DD/MM/YYYY"]}), "`DD/MM/YYYY` does not determine the day"),
            (json!({"format": "%d/%m/%Y %!"}), "is not a strftime pattern"),
            (json!({"timezone": "Nairobi"}), "unknown time zone"),
            (json!({"timezone": "03:00"}), "unknown time zone"),
            (json!({"zone": "UTC"}), "format"),
        ] {
            let why = dates(value.clone()).unwrap_err();
            assert!(why.contains(says), "{value}: {why}");
        }
    }
}
