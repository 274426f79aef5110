//! JSON whose numbers are ids and telephone numbers.
//!
//! serde_json reads a number that is not a 64-bit integer as a float: an id of 22 digits loses its end,
//! and `15550100.0` keeps its fraction. Its feature `arbitrary_precision` would keep all digits, but in
//! the whole program: minijinja, CEL and our own readers would then see a number as a table with a
//! private name, and the errors of the configuration would no longer say what is wanted. So the text is
//! changed before it is read.

use serde_json::{Map, Value, value::RawValue};
use std::{borrow::Cow, collections::BTreeMap};

/// The most digits to which a number with an exponent is expanded: `1e400` becomes a text instead. The
/// longest ids, UUIDs as decimal numbers, have 39.
const MAX_DIGITS: usize = 40;
/// The most numbers that are changed in one text, which makes it longer by at most 2 MB.
const MAX_MENDED: usize = 50_000;
/// A number of at most this many digits always fits a 64-bit integer.
const SHORT: usize = 18;
/// How many significant digits a float always keeps (IEEE 754, binary64).
const FLOAT_DIGITS: usize = 15;

/// Changes `json` so that every number keeps its digits when it is read.
///
/// A number whose value is whole is written without fraction and exponent: `1.1e10` becomes
/// `11000000000`. A number that neither a 64-bit integer nor a float can hold becomes a text of its
/// digits. Everything else, and a text that is not JSON, stays unchanged.
pub fn with_exact_numbers(json: &str) -> Cow<'_, str> {
    with_exact_numbers_among(json, usize::MAX)
}

/// The same as [`with_exact_numbers`], for a reader that takes at most `values` members of objects and
/// items of lists together: what comes after them costs nothing.
pub fn with_exact_numbers_among(json: &str, values: usize) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let mut mended = String::new();
    let (mut at, mut copied, mut count, mut commas) = (0, 0, 0, 0);
    while at < bytes.len() && count < MAX_MENDED && commas <= values {
        match bytes[at] {
            b'"' => at = end_of_text(bytes, at + 1),
            b',' => (at, commas) = (at + 1, commas + 1),
            b'-' | b'0'..=b'9' => {
                let end = end_of_number(bytes, at);
                if let Some(exact) = exact(&json[at..end]).filter(|_| !is_name(&bytes[end..])) {
                    mended.push_str(&json[copied..at]);
                    mended.push_str(&exact);
                    (copied, count) = (end, count + 1);
                }
                at = end;
            }
            _ => at += 1,
        }
    }
    if count == 0 {
        return Cow::Borrowed(json);
    }
    mended.push_str(&json[copied..]);
    Cow::Owned(mended)
}

/// Sets the members `keys` of `table`, and the items of lists in them, to 0 if they are texts although
/// `json` has numbers there. This is for a reader that wants a text and refuses any number, however
/// long. `table` was read from `json` [with exact numbers](with_exact_numbers).
pub fn restore_numbers(json: &str, table: &mut Map<String, Value>, keys: &[&str]) {
    let Ok(written) = serde_json::from_str::<BTreeMap<String, &RawValue>>(json) else { return };
    let restore = |value: &mut Value, written: &RawValue| {
        if value.is_string() && !written.get().starts_with('"') {
            *value = 0.into();
        }
    };
    for key in keys {
        let (Some(value), Some(written)) = (table.get_mut(*key), written.get(*key)) else { continue };
        match (value, serde_json::from_str::<Vec<&RawValue>>(written.get())) {
            (Value::Array(items), Ok(written)) => {
                items.iter_mut().zip(written).for_each(|(item, written)| restore(item, written));
            }
            (value, _) => restore(value, written),
        }
    }
}

/// The end of the text that continues at `at`.
fn end_of_text(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn end_of_number(bytes: &[u8], start: usize) -> usize {
    let is_part = |byte: &u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
    start + bytes[start..].iter().take_while(|byte| is_part(byte)).count()
}

/// Whether what comes before `rest` is the name of a member: a number cannot be one.
fn is_name(rest: &[u8]) -> bool {
    rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
}

/// What must be written in place of the number `literal`. `None` if it keeps its digits unchanged.
fn exact(literal: &str) -> Option<String> {
    if literal.len() <= SHORT && literal.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let NumberParts { negative, integer, fraction, exponent } = NumberParts::parse(literal)?;
    let as_text = || Some(format!("\"{literal}\""));
    let digits = format!("{integer}{}", fraction.unwrap_or_default());
    let significant = digits.trim_start_matches('0').trim_end_matches('0');
    if significant.is_empty() {
        return (literal != "0").then(|| "0".to_owned());
    }
    if fraction.is_none() && exponent.is_none() {
        return if fits(literal) { None } else { as_text() };
    }
    let zeros = digits.len() - digits.trim_end_matches('0').len();
    let behind = i64::try_from(fraction.map_or(0, str::len)).unwrap_or(i64::MAX);
    let scale = exponent.unwrap_or(0).saturating_sub(behind).saturating_add_unsigned(zeros as u64);
    let Ok(zeros) = usize::try_from(scale) else {
        let keeps = |float: f64| significant.len() <= FLOAT_DIGITS || float.to_string() == literal;
        let float = literal.parse().ok().filter(|float: &f64| float.is_normal());
        return if float.is_some_and(keeps) { None } else { as_text() };
    };
    if significant.len().saturating_add(zeros) > MAX_DIGITS {
        return as_text();
    }
    let sign = if negative { "-" } else { "" };
    let whole = format!("{sign}{significant}{}", "0".repeat(zeros));
    Some(if fits(&whole) { whole } else { format!("\"{whole}\"") })
}

/// Whether a 64-bit integer can hold `integer`.
fn fits(integer: &str) -> bool {
    integer.parse::<i64>().is_ok() || integer.parse::<u64>().is_ok()
}

/// The parts of a JSON number (RFC 8259, 6).
struct NumberParts<'n> {
    negative: bool,
    integer: &'n str,
    fraction: Option<&'n str>,
    /// The exponent, or the nearest number that an `i64` can hold.
    exponent: Option<i64>,
}

impl<'n> NumberParts<'n> {
    /// The parts of `literal`. `None` if it is not a number.
    fn parse(literal: &'n str) -> Option<Self> {
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let unsigned = literal.strip_prefix('-').unwrap_or(literal);
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            None => (unsigned, None),
            Some((mantissa, exponent)) => {
                let digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
                let most = if exponent.starts_with('-') { i64::MIN } else { i64::MAX };
                (mantissa, Some(is_digits(digits).then(|| exponent.parse().unwrap_or(most))?))
            }
        };
        let (integer, fraction) = match mantissa.split_once('.') {
            None => (mantissa, None),
            Some((integer, fraction)) => (integer, Some(fraction)),
        };
        let is_number = is_digits(integer)
            && (integer == "0" || !integer.starts_with('0'))
            && fraction.is_none_or(is_digits);
        is_number.then_some(Self { negative: unsigned.len() < literal.len(), integer, fraction, exponent })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn a_number_keeps_its_digits() {
        for (number, expected) in [
            ("7", "7"),
            ("-7", "-7"),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", "\"18446744073709551616\""),
            ("-9223372036854775809", "\"-9223372036854775809\""),
            ("4831666765594842123456", "\"4831666765594842123456\""),
            ("1.1e10", "11000000000"),
            ("1.1E+10", "11000000000"),
            ("15550100.0", "15550100"),
            ("-15550100.00", "-15550100"),
            ("100e-2", "1"),
            ("1200.5e1", "12005"),
            ("4.831666765594842123456e21", "\"4831666765594842123456\""),
            ("1e39", "\"1000000000000000000000000000000000000000\""),
            ("1e40", "\"1e40\""),
            ("1e400", "\"1e400\""),
            ("1e-400", "\"1e-400\""),
            ("1e99999999999999999999", "\"1e99999999999999999999\""),
            ("1e-99999999999999999999", "\"1e-99999999999999999999\""),
            ("0e99999999999999999999", "0"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("0", "0"),
            ("1.50", "1.50"),
            ("0.1", "0.1"),
            ("15e-1", "15e-1"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("3.14159265358979323846", "\"3.14159265358979323846\""),
        ] {
            for (before, behind) in
                [("", ""), ("[1, ", "]"), ("{\"1.0\":", "}"), ("[\"\\\"1.0\",", ",\"1.0\"]")]
            {
                let mended = with_exact_numbers(&format!("{before}{number}{behind}")).into_owned();
                assert_eq!(mended, format!("{before}{expected}{behind}"), "{number}");
                assert!(serde_json::from_str::<Value>(&mended).is_ok(), "{mended}");
            }
        }
    }

    #[test]
    fn what_is_behind_the_values_that_are_taken_is_not_looked_at() {
        for (json, expected) in [
            ("[1.0,2.0,3.0]", "[1,2,3]"),
            ("[\",,,,\",2.0,3.0]", "[\",,,,\",2,3]"),
            ("[1.0,2.0,3.0,4.0,5.0]", "[1,2,3,4.0,5.0]"),
        ] {
            assert_eq!(with_exact_numbers_among(json, 2), expected);
        }
    }

    #[test]
    fn a_long_number_is_a_number_where_no_text_is_written() {
        let json = r#"{"to": 4831666765594842123456, "list": ["1", 1e400, 7, "2"], "t\u0065xt": 1e40, "kept": 1e40, "is": "3"}"#;
        let Value::Object(mut table) = serde_json::from_str(&with_exact_numbers(json)).unwrap() else {
            panic!()
        };
        restore_numbers(json, &mut table, &["to", "list", "text", "is", "absent"]);
        let expected =
            serde_json::json!({"to": 0, "list": ["1", 0, 7, "2"], "text": 0, "kept": "1e40", "is": "3"});
        assert_eq!(Value::Object(table), expected);
    }

    #[test]
    fn what_is_no_number_stays_as_it_is() {
        for json in
            ["01.0", "1.", ".5", "1.0e", "1e+", "--1.0", "1.0.0", "1.0-", "{1.0:1}", "\"1.0", "{ 1e5 : 1}"]
        {
            assert_eq!(with_exact_numbers(json), json);
        }
    }

    proptest! {
        #[test]
        fn what_is_mended_is_json_if_it_was(text in "([\\[\\]{},:\" ]|[0-9.eE+-]{1,6}|\\\\|é|\"a\":){0,12}") {
            let mended = with_exact_numbers(&text);
            let (before, after) = (serde_json::from_str::<Value>(&text), serde_json::from_str::<Value>(&mended));
            // The only difference that may be: a number that no float can hold.
            let is_too_large = before.as_ref().is_err_and(|why| why.to_string().starts_with("number out of range"));
            prop_assert!(is_too_large || before.is_ok() == after.is_ok(), "{text} {mended}");
        }
    }
}
