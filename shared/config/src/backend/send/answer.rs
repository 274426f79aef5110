//! What the answer to a request that sends means: `success`, `external_id` and `failures` of
//! `[backends.NAME.send]`.

use crate::backend::field::Pattern;
use postern_shared::{
    error::FailureClass,
    read::{JsonLimits, looks_like_xml, with_exact_numbers, with_valid_escapes, xml_within},
    value::OneOrMany,
};
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use std::{fmt, sync::OnceLock};

/// An answer whose meaning the provider's documentation gives.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFailure {
    /// Where the answer holds the provider's error.
    pub at: AnswerPart,
    /// The values at `at` that this entry is about.
    pub is: OneOrMany,
    /// The class of the failure, which decides about retries.
    pub class: FailureClass,
    /// The code in the report. Absent: the provider's error.
    pub code: Option<String>,
}

impl KnownFailure {
    /// The class and the code of `error`, the value at [`at`](Self::at), if this entry is about it.
    pub fn meant(&self, error: Option<String>) -> Option<(FailureClass, String)> {
        let error = error.filter(|error| self.is.0.contains(error))?;
        Some((self.class, self.code.clone().unwrap_or(error)))
    }
}

/// The body of an answer. It is read as JSON or XML when a part of it is first asked for, and only then.
pub struct AnswerBody {
    text: String,
    value: OnceLock<Option<Value>>,
}

impl AnswerBody {
    /// The body as it came.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The body as JSON, even if it is XML. Numbers keep all of their digits. `None` if it is neither JSON nor
    /// XML.
    pub fn value(&self) -> Option<&Value> {
        self.value.get_or_init(|| value_of(&self.text)).as_ref()
    }
}

impl<T: Into<String>> From<T> for AnswerBody {
    fn from(text: T) -> Self {
        Self { text: text.into(), value: OnceLock::new() }
    }
}

/// Hides what the provider says.
impl fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnswerBody({} bytes)", self.text.len())
    }
}

/// When an answer means that the provider accepted the message. All conditions must hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Success {
    /// The allowed values of the answer's status, such as `200` or `2xx`.
    pub status: Vec<StatusPattern>,
    /// The pattern that must match somewhere in the answer's body. Empty: any body.
    pub body: Option<Pattern>,
    /// Where the answer holds one of the values in `is`. `None`: the answer need not hold a value.
    pub at: Option<AnswerPart>,
    /// The values at `at` that mean success.
    pub is: Option<OneOrMany>,
}

impl Success {
    /// Whether `body` meets the conditions for a success.
    pub fn is_body(&self, body: &AnswerBody) -> bool {
        let matches = self.body.as_ref().is_none_or(|pattern| pattern.0.is_match(body.text()));
        let (at, is) = (self.at.as_ref(), self.is.as_ref());
        matches && at.zip(is).is_none_or(|(at, is)| at.find(body).is_some_and(|value| is.0.contains(&value)))
    }
}

impl Default for Success {
    fn default() -> Self {
        Self { status: vec![StatusPattern { from: 200, to: 299 }], body: None, at: None, is: None }
    }
}

/// One status, or a class of a hundred such as `2xx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusPattern {
    from: u16,
    to: u16,
}

impl StatusPattern {
    /// Whether `status` matches the pattern.
    pub fn matches(self, status: u16) -> bool {
        (self.from..=self.to).contains(&status)
    }
}

impl<'de> Deserialize<'de> for StatusPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match Value::deserialize(deserializer)? {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text,
            _ => String::new(),
        };
        let hundred = text.strip_suffix("xx").and_then(|digit| digit.parse::<u16>().ok());
        let (from, to) = match (hundred, text.parse()) {
            (Some(digit), _) => (digit * 100, digit * 100 + 99),
            (None, Ok(status)) => (status, status),
            _ => (0, 0),
        };
        if (100..=599).contains(&from) {
            Ok(Self { from, to })
        } else {
            Err(de::Error::custom("must be a status such as \"200\" or \"2xx\""))
        }
    }
}

/// Where an answer, or an item of it, holds a value such as the provider's id: a JSON pointer, also into the
/// JSON that stands for XML ([`xml_within`]), or a regex with one group. A pointer begins with `/`; the empty
/// pointer is the whole answer.
#[derive(Debug, Clone)]
pub enum AnswerPart {
    /// A JSON pointer (RFC 6901) into an answer that is JSON or XML.
    Pointer(String),
    /// A regex whose first group is the value.
    Regex(regex::Regex),
}

impl AnswerPart {
    /// The value in `answer`. `None` if the answer does not hold it.
    pub fn find(&self, answer: &AnswerBody) -> Option<String> {
        match self {
            Self::Pointer(pointer) => text_of(answer.value()?.pointer(pointer)?),
            Self::Regex(regex) => first_group(regex, answer.text()),
        }
    }

    /// The value in `item`, a part of an answer. A regex is matched against the item's JSON without white
    /// space. `None` if the item does not hold the value.
    pub fn find_in(&self, item: &Value) -> Option<String> {
        match self {
            Self::Pointer(pointer) => text_of(item.pointer(pointer)?),
            Self::Regex(regex) => first_group(regex, &item.to_string()),
        }
    }
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        // `#text` is the text of an XML element with attributes.
        Value::Object(members) => {
            let text = members.get("#text")?.as_str().filter(|text| !text.is_empty());
            text.map(str::to_owned)
        }
        _ => None,
    }
}

fn first_group(regex: &regex::Regex, text: &str) -> Option<String> {
    Some(regex.captures(text)?.get(1)?.as_str().to_owned())
}

fn value_of(answer: &str) -> Option<Value> {
    if looks_like_xml(answer.as_bytes()) {
        // The size of an answer is limited already, and bounds its parts, as those of JSON. With a lower limit,
        // the outcomes in a large answer would count as missing, and everybody would get the message again.
        let most = answer.len();
        return xml_within(answer, JsonLimits { values: most, name: most, text: most }).ok();
    }
    let answer = with_valid_escapes(answer);
    serde_json::from_str(&with_exact_numbers(&answer)).ok()
}

impl<'de> Deserialize<'de> for AnswerPart {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() || text.starts_with('/') {
            return Ok(Self::Pointer(text));
        }
        match regex::Regex::new(&text) {
            Ok(regex) if regex.captures_len() == 2 => Ok(Self::Regex(regex)),
            _ => Err(de::Error::custom(
                "must be a JSON pointer such as \"/id\", or a regular expression with one group",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_part_of_json_and_of_xml_is_found() {
        let xml =
            "<?xml version=\"1.0\"?><reply code=\"0\"><id n=\"1\">a1</id><to>1</to><to>2</to><e/></reply>";
        for (part, answer, wanted) in [
            ("/id", r#"{"id": "a"}"#, Some("a")),
            ("/id", r#"{"id": 48316667655948421234567}"#, Some("48316667655948421234567")),
            ("/ok", r#"{"ok": true}"#, Some("true")),
            ("/id", r#"{"id": ""}"#, None),
            ("/id", r#"{"id": null}"#, None),
            ("/id", r#"{"id": {}}"#, None),
            ("/id", "no JSON", None),
            ("/0/id", r#"[{"id": "a"}]"#, Some("a")),
            ("/reply/@code", xml, Some("0")),
            ("/reply/id", xml, Some("a1")),
            ("/reply/id/@n", xml, Some("1")),
            ("/reply/to/1", xml, Some("2")),
            ("/reply/to", xml, None),
            ("/reply/e", xml, None),
            ("/reply", "<reply>Sent</reply>", Some("Sent")),
            ("/reply", "<!DOCTYPE reply><reply>Sent</reply>", None),
            ("/reply", "<reply>Sent", None),
            ("id=(.+)", "id=7", Some("7")),
        ] {
            let part: AnswerPart = serde_json::from_value(part.into()).unwrap();
            assert_eq!(part.find(&answer.into()).as_deref(), wanted, "{part:?} {answer}");
        }
    }

    #[test]
    fn an_answer_about_ten_thousand_recipients_is_read_to_its_end() {
        let last: AnswerPart = serde_json::from_value("/r/m/9999/id".into()).unwrap();
        let each = |write: fn(usize) -> String| (0..10_000).map(write).collect::<Vec<_>>();
        let xml = each(|n| format!("<m code=\"0\"><to>+2547{n:08}</to><id>a{n}</id></m>")).concat();
        let json = each(|n| format!(r#"{{"code": 0, "to": "+2547{n:08}", "id": "a{n}"}}"#)).join(",");
        for answer in [format!("<r>{xml}</r>"), format!(r#"{{"r": {{"m": [{json}]}}}}"#)] {
            assert_eq!(last.find(&answer.into()).as_deref(), Some("a9999"));
        }
        let long = "x".repeat(100_000);
        let whole: AnswerPart = serde_json::from_value("/r".into()).unwrap();
        assert_eq!(whole.find(&format!("<r>{long}</r>").into()), Some(long));
    }

    #[test]
    fn success_may_be_a_value_in_the_answer() {
        let success = |table: Value| serde_json::from_value::<Success>(table).unwrap();
        let status = success(json!({"at": "/messages/0/status", "is": ["0", "OK"]}));
        let xml = success(json!({"at": "/reply/@code", "is": "0"}));
        let both = success(json!({"body": "done", "at": "/s", "is": "ok"}));
        for (success, body, wanted) in [
            (&status, r#"{"messages": [{"status": "0"}]}"#, true),
            (&status, r#"{"messages": [{"status": 0}]}"#, true),
            (&status, r#"{"messages": [{"status": "4"}]}"#, false),
            (&status, r#"{"messages": []}"#, false),
            (&status, "OK", false),
            (&xml, "<reply code='0'/>", true),
            (&xml, "<reply code='1'/>", false),
            (&both, r#"{"s": "ok", "m": "done"}"#, true),
            (&both, r#"{"s": "ok"}"#, false),
            (&success(json!({})), "", true),
        ] {
            assert_eq!(success.is_body(&body.into()), wanted, "{body}");
        }
    }
}
