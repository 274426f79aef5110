//! A time as an operator gives it.

use crate::dead::Age;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};

/// The time that `text` says: as RFC 3339 has it, or how long ago it was, such as `2h`.
///
/// # Errors
/// What is allowed.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let ago = text.parse::<Age>().ok().and_then(|Age(ago)| Timestamp::now().checked_sub(ago).ok());
    ago.ok_or_else(|| {
        "must be a time such as 2026-11-27T08:00:00Z (RFC 3339), or how long ago it was: 30m, 2h, 7d"
            .to_owned()
    })
}

pub(super) fn deserialize_option<'de, D: Deserializer<'de>>(text: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(text)?;
    text.map(|text| moment(&text).map_err(de::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::CancelOrder;
    use jiff::SignedDuration;
    use postern_shared::read;

    #[test]
    fn a_time_is_a_date_or_how_long_ago_it_was() {
        let order = |json: &str| read::from_slice::<CancelOrder>(json.as_bytes());
        let at = order(r#"{"since":"2026-11-27T09:00:00+01:00","until":null}"#).unwrap();
        assert_eq!((at.since, at.until), (Some("2026-11-27T08:00:00Z".parse().unwrap()), None));
        let ago = order(r#"{"since":"2h"}"#).unwrap().since.unwrap();
        let passed = Timestamp::now().duration_since(ago) - SignedDuration::from_hours(2);
        assert!(passed.abs() < SignedDuration::from_secs(60), "{passed}");
        for wrong in ["soon", "", "2026-11-27", "-2h", "2026-11-27T08:00:00"] {
            let why = order(&format!(r#"{{"since":"{wrong}"}}"#)).unwrap_err().to_string();
            assert!(
                why.starts_with("since: must be a time such as 2026-11-27T08:00:00Z (RFC 3339), or"),
                "{why}"
            );
        }
        let why = order(r#"{"until":7}"#).unwrap_err().to_string();
        assert!(why.starts_with("until: must be a text"), "{why}");
    }
}
