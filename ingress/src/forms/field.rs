//! One declared parameter: its names in the request, and how its value is cleaned. The error texts are those
//! of Django's form fields, which providers know from RapidSMS's answers.

use super::request::scalar_text;
use email_address::{EmailAddress, Options};
use postern_config::backend::{
    dates::Dates,
    field::{FieldSpec, FieldType, Number, Pattern},
    receive::Receive,
};
use postern_shared::clock::Written;
use rlibphonenumber::{PhoneNumber, PhoneNumberFormat, Region};
use rust_decimal::Decimal;
use serde_json::Value;
use std::str::FromStr;

pub(super) const REQUIRED: &str = "This field is required.";
pub(super) const INVALID: &str = "Enter a valid value.";
const NULL: &str = "Null characters are not allowed.";
/// The most characters of a wrong choice that an error quotes.
const MAX_QUOTED: usize = 100;

/// A declared parameter.
#[derive(Debug)]
pub(super) struct Field {
    /// Our name of the parameter.
    pub(super) name: String,
    /// The names in the request, at least one. The first that is present counts.
    pub(super) asked: Vec<String>,
    pub(super) required: bool,
    pub(super) blank: bool,
    /// The value if the parameter is absent or blank.
    pub(super) default: Option<Value>,
    kind: FieldKind,
}

#[derive(Debug)]
enum FieldKind {
    Text { lengths: Lengths, pattern: Option<Pattern> },
    Email { lengths: Lengths },
    Integer { min: Option<i64>, max: Option<i64> },
    Decimal { min: Option<Decimal>, max: Option<Decimal> },
    Boolean,
    Datetime(Dates),
    Phone { region: Option<Region> },
    Choice { choices: Vec<String> },
}

/// Bounds on a text's length, in characters.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    min: Option<usize>,
    max: Option<usize>,
}

impl Field {
    /// The field that `receive` declares for our `name`.
    ///
    /// # Errors
    /// The key in the field's table that is wrong, and why.
    pub(super) fn new(
        name: &str,
        spec: &FieldSpec,
        receive: &Receive,
    ) -> Result<Self, (&'static str, String)> {
        let mut field = Self {
            name: name.to_owned(),
            asked: receive.param(name).map(str::to_owned).collect(),
            required: spec.required,
            blank: spec.blank,
            default: None,
            kind: FieldKind::new(spec, receive)?,
        };
        if let Some(default) = &spec.default {
            field.default = Some(field.clean_default(default).map_err(|why| ("default", why))?);
        }
        Ok(field)
    }

    fn clean_default(&self, default: &Value) -> Result<Value, String> {
        let text = scalar_text(default).ok_or("must be a string, a number or a boolean")?;
        match (text.trim(), &self.kind) {
            ("", FieldKind::Text { .. }) => Ok(Value::String(String::new())),
            ("", _) => Err("is blank".to_owned()),
            (text, _) => self.clean(text).map_err(|why| format!("is not valid for this field: {why}")),
        }
    }

    /// Cleans `text`, which must be stripped and not blank.
    pub(super) fn clean(&self, text: &str) -> Result<Value, String> {
        if text.contains('\0') {
            return Err(NULL.to_owned());
        }
        match &self.kind {
            FieldKind::Text { lengths, pattern } => {
                lengths.check(text)?;
                if pattern.as_ref().is_some_and(|pattern| !pattern.matches_whole(text)) {
                    return Err(INVALID.to_owned());
                }
                Ok(text.into())
            }
            FieldKind::Email { lengths } => {
                lengths.check(text)?;
                let options =
                    Options::default().with_required_tld().without_display_text().without_domain_literal();
                match EmailAddress::parse_with_options(text, options) {
                    Ok(_) => Ok(text.into()),
                    Err(_) => Err("Enter a valid email address.".to_owned()),
                }
            }
            FieldKind::Integer { min, max } => clean_integer(text, *min, *max),
            FieldKind::Decimal { min, max } => clean_decimal(text, *min, *max),
            FieldKind::Boolean => clean_boolean(text),
            FieldKind::Datetime(dates) => clean_datetime(text, dates),
            FieldKind::Phone { region } => clean_phone(text, *region),
            FieldKind::Choice { choices } if choices.iter().any(|choice| choice == text) => Ok(text.into()),
            FieldKind::Choice { .. } => {
                let quoted: String = text.chars().take(MAX_QUOTED).collect();
                Err(format!("Select a valid choice. {quoted} is not one of the available choices."))
            }
        }
    }

    /// Whether the field is a `datetime`.
    pub(super) fn is_datetime(&self) -> bool {
        matches!(self.kind, FieldKind::Datetime(_))
    }
}

impl FieldKind {
    fn new(spec: &FieldSpec, receive: &Receive) -> Result<Self, (&'static str, String)> {
        let lengths = Lengths { min: spec.min_length, max: spec.max_length };
        Ok(match spec.kind {
            FieldType::String => Self::Text { lengths, pattern: None },
            FieldType::Regex => Self::Text { lengths, pattern: spec.pattern.clone() },
            FieldType::Email => Self::Email { lengths },
            FieldType::Integer => {
                Self::Integer { min: bound("min", spec.min.as_ref())?, max: bound("max", spec.max.as_ref())? }
            }
            FieldType::Decimal => {
                Self::Decimal { min: bound("min", spec.min.as_ref())?, max: bound("max", spec.max.as_ref())? }
            }
            FieldType::Boolean => Self::Boolean,
            FieldType::Datetime => Self::Datetime(receive.dates.clone()),
            FieldType::Choice => Self::Choice { choices: spec.choices.clone() },
            FieldType::Phone => {
                // The first use loads the tables of all numbers, which must not hold up a message.
                let _ = PhoneNumber::parse("+12025550123", None).map(|number| number.is_valid());
                Self::Phone { region: region(spec.region.as_deref())? }
            }
        })
    }
}

fn bound<T: FromStr>(key: &'static str, bound: Option<&Number>) -> Result<Option<T>, (&'static str, String)> {
    let read = bound.map(|number| number.0.parse());
    read.transpose().map_err(|_| (key, "has too many digits".to_owned()))
}

fn region(code: Option<&str>) -> Result<Option<Region>, (&'static str, String)> {
    let read = code.map(|code| Region::from_str(&code.to_ascii_uppercase()));
    let unknown = "unknown region; use an ISO 3166 code of two letters, such as \"KE\"";
    read.transpose().map_err(|_| ("region", unknown.to_owned()))
}

impl Lengths {
    fn check(self, text: &str) -> Result<(), String> {
        if self.min.is_none() && self.max.is_none_or(|max| text.len() <= max) {
            return Ok(());
        }
        let length = text.chars().count();
        let (kind, bound) = match self {
            Self { max: Some(max), .. } if length > max => ("most", max),
            Self { min: Some(min), .. } if length < min => ("least", min),
            _ => return Ok(()),
        };
        let plural = if bound == 1 { "" } else { "s" };
        Err(format!("Ensure this value has at {kind} {bound} character{plural} (it has {length})."))
    }
}

fn in_bounds<T: PartialOrd + std::fmt::Display>(
    value: &T,
    min: Option<T>,
    max: Option<T>,
) -> Result<(), String> {
    match (min, max) {
        (Some(min), _) if *value < min => {
            Err(format!("Ensure this value is greater than or equal to {min}."))
        }
        (_, Some(max)) if *value > max => Err(format!("Ensure this value is less than or equal to {max}.")),
        _ => Ok(()),
    }
}

/// Cleans a whole number. `5.0` counts as one, as in Django.
fn clean_integer(text: &str, min: Option<i64>, max: Option<i64>) -> Result<Value, String> {
    let whole = match text.split_once('.') {
        Some((whole, zeros)) if zeros.bytes().all(|digit| digit == b'0') => whole,
        _ => text,
    };
    let number: i64 = whole.parse().map_err(|_| "Enter a whole number.".to_owned())?;
    in_bounds(&number, min, max)?;
    Ok(number.into())
}

fn clean_decimal(text: &str, min: Option<Decimal>, max: Option<Decimal>) -> Result<Value, String> {
    let number = Decimal::from_str_exact(text).or_else(|_| Decimal::from_scientific(text));
    let number = number.map_err(|_| "Enter a number.".to_owned())?;
    in_bounds(&number, min, max)?;
    Ok(number.to_string().into())
}

fn clean_boolean(text: &str) -> Result<Value, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "1" | "yes" => Ok(true.into()),
        "false" | "off" | "0" | "no" => Ok(false.into()),
        _ => Err("Enter true or false.".to_owned()),
    }
}

fn clean_datetime(text: &str, dates: &Dates) -> Result<Value, String> {
    let at = dates.read(text).ok_or("Enter a valid date/time.")?;
    Ok(Written(at).to_string().into())
}

fn clean_phone(text: &str, region: Option<Region>) -> Result<Value, String> {
    let number = PhoneNumber::parse(text, region).ok().filter(PhoneNumber::is_valid);
    let number = number.ok_or("Enter a valid phone number.")?;
    Ok(number.format_as(PhoneNumberFormat::E164).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn field(spec: Value) -> Result<Field, (&'static str, String)> {
        let spec: FieldSpec = serde_json::from_value(spec).unwrap();
        assert_eq!(spec.problems(), []);
        Field::new("x", &spec, &Receive::default())
    }

    #[test]
    fn every_type_cleans_as_django_does() {
        let string = json!({"type": "string", "min_length": 2, "max_length": 3});
        let one = json!({"max_length": 1});
        let integer = json!({"type": "integer", "min": 1, "max": 130});
        let decimal = json!({"type": "decimal", "min": "0.10", "max": 99.5});
        let boolean = json!({"type": "boolean"});
        let datetime = json!({"type": "datetime"});
        let email = json!({"type": "email", "max_length": 30});
        let phone = json!({"type": "phone"});
        let kenyan = json!({"type": "phone", "region": "KE"});
        let choice = json!({"type": "choice", "choices": ["a", "b c"]});
        let regex = json!({"type": "regex", "pattern": "[a-z]+|[a-z]+\\d", "max_length": 5});
        for (spec, text, expected) in [
            (&string, "ab", Ok(json!("ab"))),
            (&string, "äöü", Ok(json!("äöü"))),
            (&string, "a", Err("Ensure this value has at least 2 characters (it has 1).")),
            (&string, "abcd", Err("Ensure this value has at most 3 characters (it has 4).")),
            (&string, "a\0b", Err("Null characters are not allowed.")),
            (&one, "ab", Err("Ensure this value has at most 1 character (it has 2).")),
            (&integer, "1", Ok(json!(1))),
            (&integer, "130.00", Ok(json!(130))),
            (&integer, "+7", Ok(json!(7))),
            (&integer, "0", Err("Ensure this value is greater than or equal to 1.")),
            (&integer, "131", Err("Ensure this value is less than or equal to 130.")),
            (&integer, "1.5", Err("Enter a whole number.")),
            (&integer, "one", Err("Enter a whole number.")),
            (&integer, "99999999999999999999", Err("Enter a whole number.")),
            (&decimal, "0.10", Ok(json!("0.10"))),
            (&decimal, "1e1", Ok(json!("10"))),
            (&decimal, "0.09", Err("Ensure this value is greater than or equal to 0.10.")),
            (&decimal, "99.51", Err("Ensure this value is less than or equal to 99.5.")),
            (&decimal, "NaN", Err("Enter a number.")),
            (&decimal, "1,5", Err("Enter a number.")),
            (&decimal, "1.12345678901234567890123456789012", Err("Enter a number.")),
            (&boolean, "YES", Ok(json!(true))),
            (&boolean, "off", Ok(json!(false))),
            (&boolean, "maybe", Err("Enter true or false.")),
            (&datetime, "2026-11-22T20:00:00.123456+03:00", Ok(json!("2026-11-22T17:00:00.123Z"))),
            (&datetime, "2026-11-22 17:00:01", Ok(json!("2026-11-22T17:00:01.000Z"))),
            (&datetime, "2026-11-22 17:00", Ok(json!("2026-11-22T17:00:00.000Z"))),
            (&datetime, "2026-02-30 17:00", Err("Enter a valid date/time.")),
            (&datetime, "2026-11-22T20:00:00 03:00", Ok(json!("2026-11-22T17:00:00.000Z"))),
            (&datetime, "Sun, 22 Nov 2026 17:00:00 +0000", Ok(json!("2026-11-22T17:00:00.000Z"))),
            (&datetime, "1795366800", Ok(json!("2026-11-22T17:00:00.000Z"))),
            (&datetime, "1795366800.25", Ok(json!("2026-11-22T17:00:00.250Z"))),
            (&datetime, "1795366800250", Ok(json!("2026-11-22T17:00:00.250Z"))),
            (&datetime, "17953668.x", Err("Enter a valid date/time.")),
            (&datetime, "99999999999999999999", Err("Enter a valid date/time.")),
            (&datetime, "now", Err("Enter a valid date/time.")),
            (&email, "ann@example.org", Ok(json!("ann@example.org"))),
            (&email, "ann@example", Err("Enter a valid email address.")),
            (&email, "Ann <ann@example.org>", Err("Enter a valid email address.")),
            (&email, "ann", Err("Enter a valid email address.")),
            (
                &email,
                "ann.the.longest.name@example.org",
                Err("Ensure this value has at most 30 characters (it has 32)."),
            ),
            (&phone, "+1 202-555-0123", Ok(json!("+12025550123"))),
            (&phone, "0712 345678", Err("Enter a valid phone number.")),
            (&phone, "+1", Err("Enter a valid phone number.")),
            (&kenyan, "0712 345678", Ok(json!("+254712345678"))),
            (&kenyan, "+1 202-555-0123", Ok(json!("+12025550123"))),
            (&kenyan, "12", Err("Enter a valid phone number.")),
            (&choice, "b c", Ok(json!("b c"))),
            (&choice, "d", Err("Select a valid choice. d is not one of the available choices.")),
            (&regex, "abc1", Ok(json!("abc1"))),
            (&regex, "abc12", Err("Enter a valid value.")),
            (&regex, "abcdef", Err("Ensure this value has at most 5 characters (it has 6).")),
        ] {
            let got = field(spec.clone()).unwrap().clean(text);
            assert_eq!(got, expected.map_err(str::to_owned), "{spec} {text}");
        }
    }

    #[test]
    fn a_declaration_that_cannot_work_is_refused_at_the_start() {
        for (spec, key) in [
            (json!({"type": "integer", "default": "x"}), "default"),
            (json!({"type": "integer", "min": 1, "default": 0}), "default"),
            (json!({"type": "choice", "choices": ["a"], "default": "b"}), "default"),
            (json!({"type": "boolean", "default": ""}), "default"),
            (json!({"default": ["a"]}), "default"),
            (json!({"type": "phone", "region": "Kenya"}), "region"),
            (json!({"type": "decimal", "max": 1e60}), "max"),
        ] {
            assert_eq!(field(spec.clone()).map(|_| ()).unwrap_err().0, key, "{spec}");
        }
        for (spec, default) in [
            (json!({"type": "integer", "default": 5}), json!(5)),
            (json!({"type": "boolean", "default": false}), json!(false)),
            (json!({"type": "decimal", "default": 1.5}), json!("1.5")),
            (json!({"default": ""}), json!("")),
            (
                json!({"type": "datetime", "default": "2026-11-22T00:00:00Z"}),
                json!("2026-11-22T00:00:00.000Z"),
            ),
        ] {
            assert_eq!(field(spec.clone()).unwrap().default, Some(default), "{spec}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_any_type_panic(text in "\\PC{0,40}|[+0-9(). -]{0,30}|[0-9TZ:.+ -]{0,30}") {
            for spec in [
                json!({"type": "string", "min_length": 2, "max_length": 3}),
                json!({"type": "integer", "min": 1}),
                json!({"type": "decimal", "min": "0.1"}),
                json!({"type": "boolean"}),
                json!({"type": "datetime"}),
                json!({"type": "email"}),
                json!({"type": "phone", "region": "KE"}),
                json!({"type": "choice", "choices": ["a"]}),
                json!({"type": "regex", "pattern": "a*"}),
            ] {
                let _ = field(spec).unwrap().clean(&text);
            }
        }
    }
}
