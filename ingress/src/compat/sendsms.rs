//! What a client sends to Kannel's sendsms, by Kannel 1.4.5's user guide, "Using the HTTP interface to send
//! SMS messages", and Kannel's answers to what it refuses.
//!
//! | parameter | what becomes of it |
//! | --- | --- |
//! | `username` (`user`), `password` (`pass`) | the user |
//! | `to` | the recipients, separated by blanks; each once |
//! | `text`, `charset`, `coding` | the text, decoded by charset and coding; empty if absent |
//! | `smsc` | another backend of the user's, or a name that the user has for one |
//! | `validity` | after how many minutes the message is no longer sent |
//! | `priority` | 0: the lane `bulk`; 1 to 3, or absent: `normal` |
//! | `dlr-url` (`dlrurl`), `dlr-mask` (`dlrmask`) | the delivery callback |
//! | `from`, `account`, `binfo`, `mclass`, `mwi`, `pid`, `alt-dcs`, `rpi`, `compress`, `meta-data`; also `validity` and `priority` | the message's context, under the same names with `_` for `-`; a backend of type kannel passes them on |
//! | `udh`, `deferred`, and `coding=1` with bytes that are not text | refused: the message would arrive as something else, or at another time |
//! | any other | ignored |
//!
//! A recipient that is not a number is left out, as in Kannel, but is reported as failed. A request without
//! any number, or with more than [`MAX_NO_NUMBERS`] other words, is refused.
//!
//! Refusing the whole request would let one bad number stop a broadcast. The report, and event 16 for a
//! client that asked for it, are published with the message, before the 202.

use crate::{accept::CallbackRequest, forms::Request};
use actix_web::http::header::HeaderMap;
use indexmap::IndexSet;
use jiff::{SignedDuration, Timestamp};
use postern_config::backend::codec::{Decoded, kannel};
use postern_shared::{
    callback::{EgressPolicy, MAX_URL},
    message::{Context, Identity, MAX_IDENTITIES, MAX_TEXT_CHARS, Priority},
};
use std::{borrow::Cow, collections::BTreeMap};

/// The most words of `to` that are not numbers. Each may cause a callback: without a limit, one request would
/// cause thousands. A list of recipients with more mistakes than this is the wrong list.
const MAX_NO_NUMBERS: usize = 100;

/// Every parameter, and its older name, empty if there is none.
const NAMES: [(&str, &str); 24] = [
    ("username", "user"),
    ("password", "pass"),
    ("from", ""),
    ("to", ""),
    ("text", ""),
    ("charset", ""),
    ("coding", ""),
    ("udh", ""),
    ("smsc", ""),
    ("mclass", ""),
    ("mwi", ""),
    ("pid", ""),
    ("alt-dcs", ""),
    ("rpi", ""),
    ("compress", ""),
    ("validity", ""),
    ("deferred", ""),
    ("dlr-mask", "dlrmask"),
    ("dlr-url", "dlrurl"),
    ("account", ""),
    ("binfo", ""),
    ("priority", ""),
    ("meta-data", ""),
    // Kannel treats flash=1 as mclass=0, and still lists it among its parameters.
    ("flash", ""),
];

/// The parameter that names the text's charset.
pub(super) const CHARSET: &str = "charset";
/// Kannel's words for recipients that it does not send to.
pub(super) const DENIED: &str = "Number(s) has/have been denied by white- and/or black-lists.";

/// A request's parameters, as undecoded bytes, by Kannel's names.
#[derive(Default)]
pub(super) struct SendsmsParameters<'a>(BTreeMap<&'static str, Cow<'a, [u8]>>);

impl<'a> SendsmsParameters<'a> {
    /// The parameters of a GET, or of a form.
    pub(super) fn parameters(request: &'a Request<'a>) -> Self {
        let value = |name: &str| request.parameter(name).map(|parameter| Cow::Borrowed(&*parameter.raw));
        let one = |(name, older): (&'static str, &str)| {
            let value = value(name).or_else(|| value(older).filter(|_| !older.is_empty()))?;
            Some((name, value))
        };
        Self(NAMES.into_iter().filter_map(one).collect())
    }

    /// The `X-Kannel-…` headers of a POST whose body is the text itself.
    pub(super) fn headers(headers: &'a HeaderMap, text: &'a [u8], octets: bool) -> Self {
        let header = |name: &str| {
            let value = headers.get(format!("x-kannel-{name}"))?.as_bytes();
            Some(Cow::Borrowed(value.trim_ascii()))
        };
        let named = NAMES.into_iter().filter(|(name, _)| !["text", "charset"].contains(name));
        let mut given: BTreeMap<_, _> =
            named.filter_map(|(name, _)| header(name).map(|value| (name, value))).collect();
        given.insert("text", Cow::Borrowed(text));
        if octets {
            given.entry("coding").or_insert(Cow::Borrowed(b"1"));
        }
        let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let charset = kind.split(';').skip(1).find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
        });
        if let Some(charset) = charset {
            given.insert("charset", Cow::Borrowed(charset.as_bytes()));
        }
        Self(given)
    }

    /// The bytes of the parameter `name`; empty if it is absent.
    pub(super) fn bytes(&self, name: &str) -> &[u8] {
        self.0.get(name).map_or(&[], |value| value)
    }

    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        let text = String::from_utf8_lossy(self.0.get(name)?);
        Some(text).filter(|text| !text.is_empty())
    }

    /// The number with which the parameter `name` begins; `None` if there is none.
    fn number(&self, name: &str) -> Option<i64> {
        let text = self.text(name)?;
        let text = text.trim_start();
        let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        let number: i64 = digits[..end].parse().ok()?;
        Some(if text.starts_with('-') { -number } else { number })
    }
}

/// A message as sendsms accepts it.
#[derive(Debug, PartialEq)]
pub(super) struct Sendsms {
    pub(super) identities: Vec<Identity>,
    /// Recipients that are not numbers.
    pub(super) left_out: Vec<Identity>,
    pub(super) text: String,
    pub(super) context: Context,
    pub(super) priority: Priority,
    pub(super) expires_at: Option<Timestamp>,
    /// The backend, or the client's own name for one (`smsc`).
    pub(super) destination: Option<String>,
    /// The delivery callback that the client asks for.
    pub(super) callback: Option<CallbackRequest>,
}

/// What is wrong with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WrongSendsms {
    /// The parameter, by Kannel's name.
    pub(super) field: &'static str,
    /// Kannel's words.
    pub(super) words: String,
}

fn wrong(field: &'static str, words: impl Into<String>) -> WrongSendsms {
    WrongSendsms { field, words: words.into() }
}

/// Reads a request at `now`. The address of its callback must be allowed by `reach`.
///
/// # Errors
/// The first mistake.
pub(super) fn read(
    given: &SendsmsParameters<'_>,
    reach: &EgressPolicy,
    now: Timestamp,
) -> Result<Sendsms, WrongSendsms> {
    let (identities, left_out) = recipients(given)?;
    if !given.bytes("udh").is_empty() {
        return Err(wrong("udh", "UDH field not supported, rejected"));
    }
    let account = given.text("account");
    if account.is_some_and(|account| account.len() > 64 || account.contains(['[', ']', '\r', '\n'])) {
        return Err(wrong("account", "Account field misformed or too long, rejected"));
    }
    let callback = callback(given, reach)?;
    for (field, name, range) in [
        ("MClass", "mclass", -1..=3),
        ("PID", "pid", -1..=255),
        ("RPI", "rpi", -1..=2),
        ("Alt-DCS", "alt-dcs", -1..=1),
        ("MWI", "mwi", -1..=7),
        ("Coding", "coding", -1..=2),
        ("Compress", "compress", -1..=1),
        ("Validity", "validity", -1..=i64::from(i32::MAX)),
        ("Deferred", "deferred", -1..=i64::from(i32::MAX)),
        ("Priority", "priority", 0..=3),
    ] {
        if given.number(name).is_some_and(|number| !range.contains(&number)) {
            return Err(wrong(name, format!("{field} field misformed, rejected")));
        }
    }
    if given.number("deferred").is_some_and(|minutes| minutes > 0) {
        return Err(wrong("deferred", "Deferred field not supported, rejected"));
    }
    Ok(Sendsms {
        identities,
        left_out,
        text: text(given)?,
        context: context(given),
        priority: if given.number("priority") == Some(0) { Priority::Bulk } else { Priority::Normal },
        expires_at: given.number("validity").filter(|minutes| *minutes >= 0).and_then(|minutes| {
            let minutes = SignedDuration::from_secs(minutes * 60);
            now.checked_add(minutes).ok()
        }),
        destination: given.text("smsc").map(Cow::into_owned),
        callback,
    })
}

/// Splits `to` into the recipients, which are words of digits, `+` and `-`, and the words that are not
/// numbers.
fn recipients(given: &SendsmsParameters<'_>) -> Result<(Vec<Identity>, Vec<Identity>), WrongSendsms> {
    let wrong = |words: String| wrong("to", words);
    let Some(to) = given.0.get("to") else {
        return Err(wrong("Missing receiver number, rejected".to_owned()));
    };
    if to.is_empty() {
        return Err(wrong("Empty receiver number not allowed, rejected".to_owned()));
    }
    let (mut identities, mut left_out): (IndexSet<Identity>, IndexSet<Identity>) = Default::default();
    for word in String::from_utf8_lossy(to).split_ascii_whitespace() {
        let number = word.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-'));
        match word.parse().ok().filter(|_| number) {
            Some(identity) => identities.insert(identity),
            None => told(word).is_some_and(|identity| left_out.insert(identity)),
        };
        if left_out.len() > MAX_NO_NUMBERS {
            return Err(wrong(format!("More than {MAX_NO_NUMBERS} receivers that are no numbers, rejected")));
        }
        if identities.len() + left_out.len() > MAX_IDENTITIES {
            return Err(wrong(format!("More than {MAX_IDENTITIES} receivers, rejected")));
        }
    }
    if identities.is_empty() {
        return Err(wrong(DENIED.to_owned()));
    }
    Ok((identities.into_iter().collect(), left_out.into_iter().collect()))
}

/// A word that is not a number, as the identity in a report: shortened, with U+FFFD for what no identity
/// contains.
fn told(word: &str) -> Option<Identity> {
    let fit = |c: char| if c.is_control() || c.is_whitespace() { '\u{fffd}' } else { c };
    word.chars().take(Identity::MAX_CHARS).map(fit).collect::<String>().parse().ok()
}

fn text(given: &SendsmsParameters<'_>) -> Result<String, WrongSendsms> {
    let misformed = || wrong(CHARSET, "Charset or body misformed, rejected");
    let (charset, coding) = (given.text("charset"), given.number("coding"));
    let coding_word = coding.map(|coding| coding.to_string());
    let coding_word = coding_word.as_deref().map(str::as_bytes);
    let decoded = kannel::decode(given.bytes("text"), charset.as_deref(), coding_word);
    let Decoded { text, is_exact } = decoded.map_err(|_| misformed())?;
    // Kannel accepts bytes that are invalid in its default charset, but not in one that the client names.
    let must_be_exact = charset.is_some() || coding == Some(1);
    if text.contains('\0') || (must_be_exact && !is_exact) {
        return Err(misformed());
    }
    if text.chars().count() > MAX_TEXT_CHARS {
        return Err(wrong("text", format!("Text longer than {MAX_TEXT_CHARS} characters, rejected")));
    }
    Ok(text)
}

/// Reads the callback, for which both `dlr-url` and `dlr-mask` are needed.
fn callback(
    given: &SendsmsParameters<'_>,
    reach: &EgressPolicy,
) -> Result<Option<CallbackRequest>, WrongSendsms> {
    let url = given.text("dlr-url");
    if let Some(url) = &url {
        let begins =
            |scheme: &str| url.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme));
        if url.len() < 8 || url.len() > MAX_URL || !(begins("http://") || begins("https://")) {
            return Err(wrong("dlr-url", "DLR-URL field misformed, rejected"));
        }
        reach.url(url).map_err(|why| wrong("dlr-url", format!("DLR-URL refused: {why}, rejected")))?;
    }
    let mask = given.number("dlr-mask").unwrap_or(-1);
    if !(-1..=63).contains(&mask) {
        return Err(wrong("dlr-mask", "DLR-Mask field misformed, rejected"));
    }
    let mask = u8::try_from(mask).unwrap_or_default() & 31;
    let url = url.filter(|_| mask != 0);
    Ok(url.map(|url| CallbackRequest { url: url.into_owned(), mask, values: values(given) }))
}

fn context(given: &SendsmsParameters<'_>) -> Context {
    let mut context = Context::new();
    for name in ["from", "account", "binfo", "meta-data"] {
        if let Some(text) = given.text(name) {
            context.insert(name.replace('-', "_"), text.into_owned().into());
        }
    }
    for name in ["mclass", "mwi", "pid", "alt-dcs", "rpi", "compress", "validity", "priority"] {
        if let Some(number) = given.number(name).filter(|number| *number >= 0) {
            context.insert(name.replace('-', "_"), number.into());
        }
    }
    if given.number("flash") == Some(1) {
        context.entry("mclass").or_insert(0.into());
    }
    context
}

/// The values that callbacks repeat, each under Kannel's escape for it.
fn values(given: &SendsmsParameters<'_>) -> BTreeMap<char, String> {
    let named = [
        ('P', "from"),
        ('o', "account"),
        ('B', "binfo"),
        ('c', "coding"),
        ('C', "charset"),
        ('D', "meta-data"),
        ('m', "mclass"),
        ('M', "mwi"),
    ];
    let value = |(escape, name)| Some((escape, given.text(name)?.into_owned()));
    named.into_iter().filter_map(value).collect()
}

#[cfg(test)]
mod tests;
