//! Times as people write them: on a command line, or in a query.

use crate::dead::Age;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};

/// A text that is not a time. The error shows valid ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be a time such as 2026-11-27T08:00:00Z (RFC 3339), or how long ago it was: 30m, 2h, 7d")]
pub struct InvalidMoment;

/// The time that `text` means at the time `now`: an RFC 3339 time, or how long ago it was.
///
/// # Errors
/// [`InvalidMoment`]: `text` is neither.
pub fn read(text: &str, now: Timestamp) -> Result<Timestamp, InvalidMoment> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago = text.parse::<Age>().ok().and_then(|Age(ago)| now.checked_sub(ago).ok());
    ago.ok_or(InvalidMoment)
}

/// The time that an argument on the command line, `text`, means now.
///
/// # Errors
/// The same as for [`read`].
pub fn of_now(text: &str) -> Result<Timestamp, InvalidMoment> {
    read(text, Timestamp::now())
}

/// Reads a field of a command that is a time or absent.
///
/// # Errors
/// The same as for [`read`].
pub(crate) fn deserialize_option<'de, D: Deserializer<'de>>(text: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(text)?;
    text.map(|text| of_now(&text).map_err(de::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::CancelCommand;
    use jiff::SignedDuration;
    use postern_shared::read::from_slice;

    #[test]
    fn a_time_is_a_date_or_how_long_ago() {
        let now: Timestamp = "2026-11-27T12:00:00Z".parse().unwrap();
        for (text, wanted) in [
            ("2026-11-27T08:00:00Z", Some("2026-11-27T08:00:00Z")),
            ("2026-11-27T08:00:00.5+01:00", Some("2026-11-27T07:00:00.5Z")),
            ("2h", Some("2026-11-27T10:00:00Z")),
            ("1w 2d", Some("2026-11-18T12:00:00Z")),
            ("0s", Some("2026-11-27T12:00:00Z")),
            ("-2h", None),
            ("20000y", None),
            ("2026-11-27", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(read(text, now).ok(), wanted.map(|at| at.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn a_command_holds_times_as_people_write_them() {
        let command = |json: &str| from_slice::<CancelCommand>(json.as_bytes());
        let at = command(r#"{"since":"2026-11-27T09:00:00+01:00","until":null}"#).unwrap();
        assert_eq!((at.since, at.until), (Some("2026-11-27T08:00:00Z".parse().unwrap()), None));
        let ago = command(r#"{"since":"2h"}"#).unwrap().since.unwrap();
        let passed = Timestamp::now().duration_since(ago) - SignedDuration::from_hours(2);
        assert!(passed.abs() < SignedDuration::from_secs(60), "{passed}");
        for wrong in ["soon", "", "2026-11-27", "-2h", "2026-11-27T08:00:00"] {
            let why = command(&format!(r#"{{"since":"{wrong}"}}"#)).unwrap_err().to_string();
            assert!(
                why.starts_with("since: must be a time such as 2026-11-27T08:00:00Z (RFC 3339), or"),
                "{why}"
            );
        }
        let why = command(r#"{"until":7}"#).unwrap_err().to_string();
        assert!(why.starts_with("until: must be a string"), "{why}");
    }
}
