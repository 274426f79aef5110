//! The region of a backend's numbers, so that each person has one identity: `region`.

use super::field::Pattern;
use postern_shared::message::Identity;
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumber, PhoneNumberFormat, Region};
use serde::{Deserialize, Deserializer, de};
use std::str::FromStr;

/// The fewest digits of a number without `+` that is read as beginning with a country code. Short codes have
/// fewer.
const MIN_DIGITS: usize = 9;

/// The region whose numbers may be written without the country code: an ISO 3166 code of two letters, such as
/// `KE`.
///
/// ```
/// use postern_config::backend::region::NumberRegion;
///
/// let kenya: NumberRegion = serde_json::from_value("KE".into()).unwrap();
/// for (written, identity) in [("0712 345678", "+254712345678"), ("254712345678", "+254712345678"), ("22384", "22384")] {
///     assert_eq!(kenya.identity(&written.parse().unwrap()).as_str(), identity);
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberRegion(Region);

impl NumberRegion {
    /// `identity` in E.164 if it is a phone number: one of this region or, if written with `+` or all its
    /// digits, of any region. From a text that only looks like a number, such as a short code, invisible
    /// characters are removed; any other identity is unchanged.
    pub fn identity(self, identity: &Identity) -> Identity {
        let visible: String = identity.as_str().chars().filter(|c| !is_invisible(*c)).collect();
        let visible = visible.trim();
        if !looks_like_number(visible) {
            return identity.clone();
        }
        let e164 = self.e164(visible).unwrap_or_else(|| visible.to_owned());
        Identity::try_from(e164).unwrap_or_else(|_| identity.clone())
    }

    fn e164(self, text: &str) -> Option<String> {
        let valid = |text: &str| PhoneNumber::parse(text, Some(self.0)).ok().filter(PhoneNumber::is_valid);
        let international = || {
            let is_whole = text.len() >= MIN_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
            is_whole.then(|| valid(&format!("+{}", text.strip_prefix("00").unwrap_or(text)))).flatten()
        };
        let number = valid(text).or_else(international)?;
        Some(number.format_as(PhoneNumberFormat::E164).into_owned())
    }

    /// What is wrong with the region in view of `send.identity`, which must match numbers in E.164.
    pub(crate) fn problem(self, identity: Option<&Pattern>) -> Option<String> {
        let example = self.example()?;
        identity.filter(|pattern| !pattern.matches_whole(&example)).map(|_| {
            format!(
                "makes numbers such as {example}, but send.identity does not accept them: remove region if \
                 the recipients of this type are not numbers"
            )
        })
    }

    /// An example of a number of the region, in E.164. `None` if none is known.
    fn example(self) -> Option<String> {
        let number = PHONE_NUMBER_UTIL.get_example_number(self.0).ok()?;
        Some(number.format_as(PhoneNumberFormat::E164).into_owned())
    }
}

impl<'de> Deserialize<'de> for NumberRegion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = String::deserialize(deserializer)?;
        // The example loads the tables of all numbers at the start, and not with the first message.
        let region = Region::from_str(&code.to_ascii_uppercase()).ok().map(Self);
        region.filter(|region| region.example().is_some()).ok_or_else(|| {
            de::Error::custom("unknown region; use an ISO 3166 code of two letters, such as \"KE\"")
        })
    }
}

/// Whether `c` is invisible in a number: a zero-width character, a mark of the text's direction, a soft hyphen.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}'
    )
}

/// Whether `text` consists only of characters that numbers are written with.
fn looks_like_number(text: &str) -> bool {
    let is_digit = |c: char| c.is_numeric();
    let between = |c: char| {
        c.is_whitespace() || matches!(c, '-' | '.' | '/' | '(' | ')' | '\u{2010}'..='\u{2015}' | '\u{2212}')
    };
    let rest = text.strip_prefix(['+', '\u{ff0b}']).unwrap_or(text);
    let begins = rest.starts_with(|c| is_digit(c) || c == '(' || char::is_whitespace(c));
    begins && rest.chars().any(is_digit) && rest.chars().all(|c| is_digit(c) || between(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_is_one_identity_and_what_is_no_number_stays() {
        for (region, written, expected) in [
            ("KE", "0712345678", "+254712345678"),
            ("ke", "0712 345-678", "+254712345678"),
            ("KE", "(0712) 345678", "+254712345678"),
            ("KE", "254712345678", "+254712345678"),
            ("KE", "+254712345678", "+254712345678"),
            ("KE", "00254712345678", "+254712345678"),
            ("KE", "000254712345678", "+254712345678"),
            // Invisible, and white space that is not a blank.
            ("KE", "\u{202a}+254\u{a0}712\u{200b}345678\u{202c}", "+254712345678"),
            ("KE", "\u{ff0b}254712345678", "+254712345678"),
            ("KE", "٠٧١٢٣٤٥٦٧٨", "+254712345678"),
            // Numbers of other regions.
            ("KE", "+1 202-555-0123", "+12025550123"),
            ("KE", "447911123456", "+447911123456"),
            ("US", "(202) 555-0123", "+12025550123"),
            ("US", "12025550123", "+12025550123"),
            // Short codes and names.
            ("KE", "22384", "22384"),
            ("KE", "\u{200e}22384", "22384"),
            ("KE", "CLINIC", "CLINIC"),
            ("KE", "MPESA\u{200b}", "MPESA\u{200b}"),
            ("KE", "1-800-FLOWERS", "1-800-FLOWERS"),
            ("KE", "-1001234567890", "-1001234567890"),
            ("KE", "whatsapp:+254712345678", "whatsapp:+254712345678"),
            ("KE", "2512345678901234", "2512345678901234"),
            ("KE", "*120*1#", "*120*1#"),
            ("KE", "+", "+"),
            ("KE", "½", "½"),
        ] {
            let region: NumberRegion = serde_json::from_value(region.into()).unwrap();
            let identity = region.identity(&written.parse().unwrap());
            assert_eq!(identity.as_str(), expected, "{written}");
            assert_eq!(region.identity(&identity), identity, "{written}, again");
        }
    }

    #[test]
    fn a_region_that_has_no_numbers_is_none() {
        for code in ["Kenya", "XX", "", "001", "ZZ"] {
            assert!(serde_json::from_value::<NumberRegion>(code.into()).is_err(), "{code}");
        }
    }
}
