//! Messages from and to JSON, with errors that quote nothing.

use super::{InvalidName, Malformed};
use crate::read::{self, Wrong};
use serde::{Serialize, de::DeserializeOwned};

/// Reads `body`. The error names the field and the place, and never quotes what is there. All fields
/// that it can name are Postern's own: names that a sender chose are in `context` or `fields`, where any
/// JSON is right. In a text that is not JSON, the place is only a line and a column.
pub(crate) fn read_json<T: DeserializeOwned>(kind: &'static str, body: &[u8]) -> Result<T, Malformed> {
    read::from_slice(body).map_err(|mut error| {
        if let Wrong::OwnRule(text) = &error.mistake.wrong
            && !InvalidName::RULES.iter().any(|rule| rule.0 == text)
        {
            error.mistake.wrong = Wrong::Allowed("is not a valid value".to_owned());
        }
        Malformed { kind, why: error.to_string() }
    })
}

/// Writes `message`. This cannot fail: the types hold only what JSON can, string keys and finite numbers.
pub(crate) fn write_json<T: Serialize>(message: &T) -> Vec<u8> {
    serde_json::to_vec(message).unwrap_or_default()
}

#[cfg(test)]
mod properties;

#[cfg(test)]
mod tests {
    use crate::message::{Inbound, Outbound, Report};
    use serde_json::Value;

    const NUMBER: &str = "+15551234567";

    #[test]
    fn the_place_of_a_mistake_is_named_in_our_words_only() {
        let with = |more: &str| format!(r#"{{"backend":"demo","identities":["1"],"text":"x",{more}}}"#);
        for (body, says) in [
            (
                with(&format!(r#""context":{{"{NUMBER}":}}"#)),
                "message: not valid JSON: expected value (line 1, column 75)",
            ),
            (
                with(&format!(r#""context":{{"text":{{"{NUMBER}":[1,]}}}}"#)),
                "message: not valid JSON: expected value (line",
            ),
            (with(&format!(r#""{NUMBER}":[1,]"#)), "message: not valid JSON"),
            (with(&format!(r#""{NUMBER}":{{"text":"#)), "message: not valid JSON"),
            (with(r#""attempt":"one""#), "attempt: must be a whole number from 0 to 4294967295"),
            (
                with(&format!(r#""priority":"{NUMBER}""#)),
                "priority: unknown value; allowed: \"normal\" or \"bulk\"",
            ),
            (
                format!(r#"{{"backend":"demo","identities":["1",{{"{NUMBER}":7}}],"text":"x"}}"#),
                "identities[1]: ",
            ),
            (format!(r#"{{"{NUMBER}":{{}},"backend":7}}"#), "backend: "),
        ] {
            let why = Outbound::from_json(body.as_bytes()).unwrap_err().to_string();
            assert!(why.contains(says) && !why.contains("555"), "{body}: {why}");
        }
        let report = format!(r#"{{"recipients":[{{"state":"sent","reason":{{"class":"{NUMBER}"}}}}]}}"#);
        let why = Report::from_json(report.as_bytes()).unwrap_err().to_string();
        assert!(why.contains("recipients[0].reason.class: unknown value; allowed: "), "{why}");
        assert!(!why.contains("555"), "{why}");
    }

    /// What an application developer copies from `docs/messages.md` is a message, and shows only fields that
    /// messages have.
    #[test]
    fn the_documented_messages_are_messages() {
        let page = include_str!("../../../docs/messages.md");
        let example = |section: &str| {
            let (_, rest) = page.split_once(&format!("\n## {section}\n")).unwrap();
            let block = rest.split("```").nth(1).unwrap().strip_prefix("json\n").unwrap();
            (block.as_bytes(), serde_json::from_str::<Value>(block).unwrap())
        };
        let value = |written: Vec<u8>| serde_json::from_slice::<Value>(&written).unwrap();
        let (body, shown) = example("What a person sent");
        assert_eq!(value(Inbound::from_json(body).unwrap().to_json()), shown);
        let (body, shown) = example("What you want sent");
        assert_eq!(value(Outbound::from_json(body).unwrap().to_json()), shown);
        let (body, shown) = example("What became of it");
        assert_eq!(value(Report::from_json(body).unwrap().to_json()), shown);
    }
}
