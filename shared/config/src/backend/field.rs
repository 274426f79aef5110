//! A parameter's type and bounds, as `receive.fields` declares them.

use regex::Regex;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;

/// Our own names, which need no declaration in `receive.fields`.
pub const STANDARD_FIELDS: [&str; 4] = ["identity", "text", "external_id", "received_at"];

/// The rules for one parameter. Cleaning follows Django's form fields, with the same error texts, so that a custom
/// form of RapidSMS can be taken over line by line.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldSpec {
    /// The parameter's type.
    #[serde(rename = "type", default)]
    pub kind: FieldType,
    /// Whether the parameter must be there and not blank.
    #[serde(default)]
    pub required: bool,
    /// Whether a required parameter may be blank.
    #[serde(default)]
    pub blank: bool,
    /// The value if the parameter is absent or blank. It must have the parameter's type.
    pub default: Option<Value>,
    /// integer, decimal: the smallest value.
    pub min: Option<Number>,
    /// integer, decimal: the largest value.
    pub max: Option<Number>,
    /// string, email, regex: the fewest characters.
    pub min_length: Option<usize>,
    /// string, email, regex: the most characters.
    pub max_length: Option<usize>,
    /// choice: the allowed values.
    #[serde(default)]
    pub choices: Vec<String>,
    /// regex: what the whole value must match.
    pub pattern: Option<Pattern>,
    /// phone: the ISO 3166 region of numbers written without `+`, such as `KE`. Absent: only international numbers
    /// are accepted.
    pub region: Option<String>,
}

/// The type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldType {
    /// Text; white space around it is stripped.
    #[default]
    String,
    /// A whole number of 64 bits.
    Integer,
    /// A decimal number, passed on as text so that no digit is lost.
    Decimal,
    /// `true`, `on`, `1`, `yes` and `false`, `off`, `0`, `no`, in any case.
    Boolean,
    /// A point in time, as [`Dates::read`](super::dates::Dates::read) reads it; passed on as RFC 3339 in UTC.
    Datetime,
    /// An e-mail address (RFC 5321).
    Email,
    /// A telephone number, passed on as E.164.
    Phone,
    /// One of `choices`.
    Choice,
    /// Text that matches `pattern`.
    Regex,
}

/// A bound: a TOML integer or float, or a text such as `"0.10"`.
#[derive(Debug, Clone, PartialEq)]
pub struct Number(pub String);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match Value::deserialize(deserializer)? {
            Value::Number(number) => number.to_string(),
            Value::String(text) => text,
            _ => return Err(de::Error::custom("must be a number")),
        };
        if text.parse::<f64>().is_ok_and(f64::is_finite) {
            Ok(Self(text))
        } else {
            Err(de::Error::custom("must be a number"))
        }
    }
}

/// A regular expression, compiled twice: unchanged, and anchored so that only a whole text matches.
#[derive(Debug, Clone)]
pub struct Pattern(pub Regex, Regex);

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let compiled = Regex::new(&text).and_then(|as_is| {
            // Checking whether a found match is the whole text would miss `a|ab` in `ab`.
            Ok(Self(as_is, Regex::new(&format!(r"\A(?:{text})\z"))?))
        });
        compiled.map_err(|error| {
            let why = error.to_string();
            let last = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            de::Error::custom(format!("not a regular expression: {last}"))
        })
    }
}

impl Pattern {
    /// Whether the whole of `text` matches.
    pub fn matches_whole(&self, text: &str) -> bool {
        self.1.is_match(text)
    }
}

impl FieldSpec {
    /// The rules for a text of at most `max_length` characters.
    pub fn text(required: bool, max_length: usize) -> Self {
        Self {
            kind: FieldType::String,
            required,
            blank: false,
            default: None,
            min: None,
            max: None,
            min_length: None,
            max_length: Some(max_length),
            choices: Vec::new(),
            pattern: None,
            region: None,
        }
    }

    /// The mistakes in the declaration itself: a key below the field's, and what is wrong.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        use FieldType::{Choice, Decimal, Email, Integer, Phone, Regex, String};
        let only = |kinds: &str| format!("is only for the types {kinds}");
        let mut wrong = Vec::new();
        let mut check = |key, is_wrong: bool, why: std::string::String| {
            if is_wrong {
                wrong.push((key, why));
            }
        };
        let number = matches!(self.kind, Integer | Decimal);
        let text = matches!(self.kind, String | Email | Regex);
        check("min", self.min.is_some() && !number, only("integer and decimal"));
        check("max", self.max.is_some() && !number, only("integer and decimal"));
        check("min_length", self.min_length.is_some() && !text, only("string, email and regex"));
        check("max_length", self.max_length.is_some() && !text, only("string, email and regex"));
        check("choices", !self.choices.is_empty() && self.kind != Choice, only("choice"));
        check("choices", self.choices.is_empty() && self.kind == Choice, "a choice needs choices".into());
        check("pattern", self.pattern.is_some() && self.kind != Regex, only("regex"));
        check("pattern", self.pattern.is_none() && self.kind == Regex, "a regex needs a pattern".into());
        check("region", self.region.is_some() && self.kind != Phone, only("phone"));
        let whole = |bound: &Option<Number>| {
            self.kind == Integer && bound.as_ref().is_some_and(|bound| bound.0.parse::<i64>().is_err())
        };
        check("min", whole(&self.min), "the bound of an integer must be a whole number".into());
        check("max", whole(&self.max), "the bound of an integer must be a whole number".into());
        let pointless = self.required && self.default.is_some();
        check("default", pointless, "a required field must not have a default".into());
        wrong
    }
}
