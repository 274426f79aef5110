//! Kannel's escapes in a client's address: the user guide's "Parameters (Escape Codes)".
//!
//! | escape | in a delivery report |
//! | --- | --- |
//! | `%d` | the event: 1, 2, 4, 8, 16 |
//! | `%A` `%b` | the provider's words about it, after `ACK/` or `NACK/` if it is the result of sending |
//! | `%a` | the same with one space between words; `%k` its first word, `%s` and `%S` the next word at each use, `%r` the words not yet used; `%e` its bytes in hexadecimal |
//! | `%p` `%q` | the recipient; `%q` with `+` for a leading `00` |
//! | `%P` `%Q` | the sender that the request gave |
//! | `%i` | the backend, which is Postern's SMSC |
//! | `%I` | Postern's id of the message |
//! | `%F` | the provider's id of it |
//! | `%t` `%T` | when it happened, in UTC: `2026-11-22+17:00:00`, or in seconds since 1970 |
//! | `%n` | the name of the user who sent the message |
//! | `%R` | the address itself, its escapes unchanged |
//! | `%B` `%c` `%C` `%D` `%m` `%M` `%o` | what the request said as `binfo`, `coding` (0), `charset` (UTF-8), `meta-data`, `mclass`, `mwi`, `account` |
//! | `%f` `%O` `%u` `%v` `%V` `%#…#…#` | nothing: Postern has no value for it |
//! | `%%` | `%` |
//!
//! Anything else stays unchanged, so that an address may contain `%20`. Values are percent-encoded.

use super::Callback;
use crate::message::CallbackEvent;
use std::{iter::Peekable, str::Chars};
use url::form_urlencoded::byte_serialize;

/// The address to call for `callback_event`: that of `callback` with its escapes replaced.
pub fn fill(callback: &Callback, callback_event: &CallbackEvent) -> String {
    let words: Vec<&str> = callback_event.reply.split_ascii_whitespace().collect();
    let mut filling = Filling { callback, callback_event, words, next_word: 1, filled: String::new() };
    let mut pattern = callback.url.chars().peekable();
    while let Some(c) = pattern.next() {
        if c == '%' && pattern.peek().is_some() {
            filling.escape(&mut pattern);
        } else {
            filling.filled.push(c);
        }
    }
    filling.filled
}

struct Filling<'a> {
    callback: &'a Callback,
    callback_event: &'a CallbackEvent,
    words: Vec<&'a str>,
    /// The index of the word that the next `%s` stands for.
    next_word: usize,
    filled: String,
}

impl Filling<'_> {
    fn escape(&mut self, pattern: &mut Peekable<Chars<'_>>) {
        let Some(code) = pattern.next() else { return };
        match code {
            't' => {
                let at = self.callback_event.at.strftime("%Y-%m-%d+%H:%M:%S").to_string();
                self.filled.push_str(&at);
            }
            '#' => {
                // A group and a parameter, each up to the next #.
                pattern.by_ref().filter(|c| *c == '#').nth(1);
            }
            '%' => self.filled.push('%'),
            code => match self.value(code) {
                Some(value) => self.filled.extend(byte_serialize(value.as_bytes())),
                None => self.filled.extend(['%', code]),
            },
        }
    }

    /// The value of the escape `code`. `None` if there is no escape of this name.
    fn value(&mut self, code: char) -> Option<String> {
        let Self { callback, callback_event, words, next_word, .. } = self;
        let said = |code| callback.values.get(&code).map_or("", String::as_str);
        let recipient = || {
            callback_event.identity.as_ref().or(callback.to.as_ref()).map_or("", |identity| identity.as_str())
        };
        let or =
            |value: &str, default: &str| if value.is_empty() { default.to_owned() } else { value.to_owned() };
        Some(match code {
            'd' => callback_event.event.to_string(),
            'A' | 'b' => callback_event.reply.clone(),
            'a' => words.join(" "),
            'k' => words.first().copied().unwrap_or_default().to_owned(),
            's' | 'S' => {
                *next_word += 1;
                words.get(*next_word - 1).copied().unwrap_or_default().to_owned()
            }
            'r' => words.get(*next_word..).unwrap_or_default().join(" "),
            'e' => callback_event.reply.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02X}")),
            'p' => recipient().to_owned(),
            'q' => international(recipient()),
            'P' => said('P').to_owned(),
            'Q' => international(said('P')),
            'i' => callback_event.backend.to_string(),
            'I' => callback_event.message_id.to_string(),
            'F' => callback_event.external_id.clone().unwrap_or_default(),
            'T' => callback_event.at.as_second().to_string(),
            'n' => callback.user.clone(),
            'R' => callback.url.clone(),
            'c' => or(said('c'), "0"),
            'C' => or(said('C'), "UTF-8"),
            'B' | 'D' | 'm' | 'M' | 'o' => said(code).to_owned(),
            'f' | 'O' | 'u' | 'v' | 'V' => String::new(),
            _ => return None,
        })
    }
}

/// `number` with `+` in place of a leading `00`.
fn international(number: &str) -> String {
    number.strip_prefix("00").map_or_else(|| number.to_owned(), |rest| format!("+{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageId;

    fn filled(url: &str, reply: &str) -> String {
        let message_id: MessageId = "0199b2a5-0000-7000-8000-000000000001".parse().unwrap();
        let values = [('P', "00100"), ('o', "a c&t"), ('c', "2"), ('m', "1")];
        let callback = Callback {
            message_id,
            user: "rapid sms".to_owned(),
            url: url.to_owned(),
            mask: 31,
            to: None,
            values: values.map(|(code, value)| (code, value.to_owned())).into(),
        };
        let callback_event = CallbackEvent {
            message_id,
            backend: "clinic".parse().unwrap(),
            callback: String::new(),
            event: 1,
            identity: Some("+1555&x".parse().unwrap()),
            external_id: Some("SM/1".to_owned()),
            reply: reply.to_owned(),
            at: "2026-11-22T17:00:05.7Z".parse().unwrap(),
        };
        fill(&callback, &callback_event)
    }

    #[test]
    fn every_escape_of_the_user_guide_has_its_value() {
        const REPLY: &str = "NACK/http_400:  no such é";
        for (pattern, expected) in [
            ("%d", "1"),
            ("%A", "NACK%2Fhttp_400%3A++no+such+%C3%A9"),
            ("%b", "NACK%2Fhttp_400%3A++no+such+%C3%A9"),
            ("%a", "NACK%2Fhttp_400%3A+no+such+%C3%A9"),
            ("%k|%s|%s|%r", "NACK%2Fhttp_400%3A|no|such|%C3%A9"),
            ("%S|%s|%s|%s|%r", "no|such|%C3%A9||"),
            ("%p", "%2B1555%26x"),
            ("%q", "%2B1555%26x"),
            ("%P|%Q", "00100|%2B100"),
            ("%i", "clinic"),
            ("%I", "0199b2a5-0000-7000-8000-000000000001"),
            ("%F", "SM%2F1"),
            ("%t", "2026-11-22+17:00:05"),
            ("%T", "1795366805"),
            ("%n", "rapid+sms"),
            ("%o", "a+c%26t"),
            ("%c|%C|%m|%M|%B|%D", "2|UTF-8|1|||"),
            ("%f%O%u%v%V", ""),
            ("a%#smpp#my_param#b", "ab"),
            ("a%#never ends", "a"),
            ("%%d", "%d"),
            ("%20%2B%zé%", "%20%2B%zé%"),
            ("%R", "%25R"),
            ("%é", "%é"),
        ] {
            assert_eq!(filled(pattern, REPLY), expected, "{pattern}");
        }
        assert_eq!(filled("%e", "ACK/"), "41434B2F");
    }

    #[test]
    fn the_only_recipient_is_told_where_the_provider_does_not_say() {
        let message_id = MessageId::new();
        let (url, user) = ("%p".to_owned(), String::new());
        let to = Some("+1666".parse().unwrap());
        let callback = Callback { message_id, user, url, mask: 1, to, values: Default::default() };
        let callback_event = CallbackEvent {
            message_id,
            backend: "x".parse().unwrap(),
            callback: String::new(),
            event: 1,
            identity: None,
            external_id: None,
            reply: String::new(),
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        assert_eq!(fill(&callback, &callback_event), "%2B1666");
    }
}
