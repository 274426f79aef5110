//! What clients send to sendsms, and what becomes of it.

use super::*;
use crate::{forms::RawRequest, processor_time::processor_time};
use actix_web::http::{Method, header::HeaderValue};
use bytes::Bytes;
use serde_json::{Value, json};

const LIMITS: crate::forms::ParameterLimits =
    crate::forms::ParameterLimits { max_fields: 50, max_key: 100, max_value: 200_000 };

fn now() -> Timestamp {
    "2026-11-22T17:00:00Z".parse().unwrap()
}

fn got(query: &str) -> Result<Sendsms, String> {
    let (headers, body) = (HeaderMap::new(), Bytes::new());
    let raw = RawRequest { method: &Method::GET, headers: &headers, query, body: &body };
    let request = Request::parse(raw, None, None, &LIMITS).unwrap();
    let read = read(&SendsmsParameters::parameters(&request), &EgressPolicy::default(), now());
    read.map_err(|wrong| wrong.words)
}

fn numbers(sms: &Sendsms) -> Vec<&str> {
    sms.identities.iter().map(Identity::as_str).collect()
}

#[test]
fn several_numbers_are_separated_by_blanks_and_each_is_told_once() {
    for (to, expected) in [
        ("1555", vec!["1555"]),
        ("%2B1555+1666%20%2B1555", vec!["+1555", "1666"]),
        ("++1555++", vec!["1555"]),
        ("15-55%0A1666", vec!["15-55", "1666"]),
    ] {
        let sms = got(&format!("to={to}&text=x")).unwrap();
        assert_eq!(numbers(&sms), expected, "{to}");
    }
}

#[test]
fn what_is_no_number_is_left_out_and_told() {
    let long = "x".repeat(300);
    for (to, good, bad) in [
        ("1555+alice", vec!["1555"], vec!["alice"]),
        ("alice+1555+bob+alice+1555", vec!["1555"], vec!["alice", "bob"]),
        ("1555+a%00b+%C2%A0", vec!["1555"], vec!["a\u{fffd}b", "\u{fffd}"]),
        (&format!("1555+{long}"), vec!["1555"], vec![&long[..256]]),
        (&format!("1555+{}", "1".repeat(300)), vec!["1555"], vec![&"1".repeat(256)]),
    ] {
        let sms = got(&format!("to={to}&text=x")).unwrap();
        let left_out: Vec<_> = sms.left_out.iter().map(Identity::as_str).collect();
        assert_eq!((numbers(&sms), left_out), (good, bad), "{to}");
    }
    // Each word counts once, as numbers do.
    let words = |number: usize| (0..2 * number).map(|n| format!("+x{}", n % number)).collect::<String>();
    assert_eq!(got(&format!("to=1555{}", words(MAX_NO_NUMBERS))).unwrap().left_out.len(), MAX_NO_NUMBERS);
    let refused = "More than 100 receivers that are no numbers, rejected";
    assert_eq!(got(&format!("to=1555{}", words(MAX_NO_NUMBERS + 1))).unwrap_err(), refused);
    let many = "x".to_owned() + &(0..MAX_IDENTITIES).map(|n| format!("+{n}")).collect::<String>();
    assert!(got(&format!("to={many}")).unwrap_err().starts_with("More than"));
}

#[test]
fn the_time_for_recipients_grows_with_their_number_alone() {
    let time = |number: usize| {
        let query = format!("text=x&to={}", (0..number).map(|n| format!("+{n}")).collect::<String>());
        processor_time(|| assert_eq!(got(&query).unwrap().identities.len(), number))
    };
    // Alternately, so that a machine that slows down slows both.
    let times: Vec<_> = (0..20).map(|_| (time(1_000), time(10_000))).collect();
    let few = times.iter().map(|(few, _)| *few).min().unwrap();
    let many = times.iter().map(|(_, many)| *many).min().unwrap();
    // Ten times as many words must take about ten times as long; quadratic time would be about a hundred
    // times.
    assert!(many < few * 30, "1,000 take {few:?}, 10,000 take {many:?}");
}

#[test]
fn a_text_is_decoded_from_its_bytes() {
    for (parameters, text) in [
        ("", ""),
        ("&text=", ""),
        ("&text=caf%C3%A9+%2B", "café +"),
        ("&text=caf%E9&charset=ISO-8859-1", "café"),
        ("&text=%80&charset=windows-1252", "€"),
        ("&text=%04%1F%04%40&coding=2", "Пр"),
        ("&text=%D0%9F&coding=2&charset=UTF-8", "П"),
        ("&text=%D8%3D%DE%00&charset=UTF-16BE&coding=2", "😀"),
        ("&text=plain&coding=1", "plain"),
        ("&text=caf%E9", "caf\u{fffd}"),
        ("&text=caf%EF%BF%BD", "caf\u{fffd}"),
        ("&text=caf%EF%BF%BD&charset=UTF-8", "caf\u{fffd}"),
        ("&text=caf%EF%BF%BD&coding=1", "caf\u{fffd}"),
        ("&text=%FF%FD&charset=UTF-16BE&coding=2", "\u{fffd}"),
        ("&text=a&charset=&coding=", "a"),
    ] {
        assert_eq!(got(&format!("to=1{parameters}")).unwrap().text, text, "{parameters}");
    }
}

#[test]
fn what_is_wrong_is_said_in_kannels_words() {
    let denied = "Number(s) has/have been denied by white- and/or black-lists.";
    let long_url = format!("http://h/{}", "x".repeat(MAX_URL));
    let long_text = "x".repeat(MAX_TEXT_CHARS + 1);
    for (query, says) in [
        ("text=x", "Missing receiver number, rejected"),
        ("to=&text=x", "Empty receiver number not allowed, rejected"),
        ("to=+&text=x", denied),
        ("to=alice&text=x", denied),
        ("to=alice+bob&text=x", denied),
        ("to=1&udh=%06%05", "UDH field not supported, rejected"),
        ("to=1&text=%FF%FE&coding=1", "Charset or body misformed, rejected"),
        ("to=1&text=%FF&charset=UTF-8", "Charset or body misformed, rejected"),
        ("to=1&text=x&charset=martian", "Charset or body misformed, rejected"),
        ("to=1&text=a%00b", "Charset or body misformed, rejected"),
        (&format!("to=1&text={long_text}"), "Text longer than 16384 characters, rejected"),
        ("to=1&mclass=4", "MClass field misformed, rejected"),
        ("to=1&pid=256", "PID field misformed, rejected"),
        ("to=1&rpi=3", "RPI field misformed, rejected"),
        ("to=1&alt-dcs=2", "Alt-DCS field misformed, rejected"),
        ("to=1&mwi=8", "MWI field misformed, rejected"),
        ("to=1&coding=3", "Coding field misformed, rejected"),
        ("to=1&compress=-2", "Compress field misformed, rejected"),
        ("to=1&validity=-2", "Validity field misformed, rejected"),
        ("to=1&deferred=-2", "Deferred field misformed, rejected"),
        ("to=1&deferred=5", "Deferred field not supported, rejected"),
        ("to=1&priority=4", "Priority field misformed, rejected"),
        ("to=1&priority=-1", "Priority field misformed, rejected"),
        ("to=1&dlr-mask=64", "DLR-Mask field misformed, rejected"),
        ("to=1&dlr-url=http://", "DLR-URL field misformed, rejected"),
        ("to=1&dlr-url=ftp://example.org/", "DLR-URL field misformed, rejected"),
        (&format!("to=1&dlr-url={long_url}"), "DLR-URL field misformed, rejected"),
        ("to=1&dlr-url=http://127.0.0.1/", "DLR-URL refused: 127.0.0.1 is a loopback address, rejected"),
        (
            "to=1&dlr-url=http://[::ffff:10.0.0.1]/",
            "DLR-URL refused: 10.0.0.1 is a private address, rejected",
        ),
        (
            "to=1&dlr-url=http://169.254.169.254/latest",
            "DLR-URL refused: 169.254.169.254 is a link-local address, rejected",
        ),
        (
            "to=1&dlr-url=http://u:p@example.org/",
            "DLR-URL refused: it contains a user name or a password, rejected",
        ),
        ("to=1&account=a%5Bb", "Account field misformed or too long, rejected"),
        (&format!("to=1&account={}", "x".repeat(65)), "Account field misformed or too long, rejected"),
    ] {
        assert_eq!(got(query), Err(says.to_owned()), "{query}");
    }
}

#[test]
fn numbers_are_read_as_kannel_reads_them() {
    for (query, mclass) in [
        ("mclass=1", Some(1)),
        ("mclass=+2x", Some(2)),
        ("mclass=-1", None),
        ("mclass=", None),
        ("mclass=x", None),
        ("flash=1", Some(0)),
        ("flash=1&mclass=3", Some(3)),
    ] {
        let context = got(&format!("to=1&{query}")).unwrap().context;
        assert_eq!(context.get("mclass"), mclass.map(Value::from).as_ref(), "{query}");
    }
}

#[test]
fn the_rest_goes_where_the_table_says() {
    let sms = got("to=1&text=x&from=1000&smsc=other&validity=90&priority=0&account=acc&binfo=b&alt-dcs=1\
                   &meta-data=%3Fsmpp%3Fa%3Db&dlrurl=https://example.org/d?s=%25d&dlrmask=27&mclass=1&unknown=y")
    .unwrap();
    let context = json!({"from": "1000", "account": "acc", "binfo": "b", "meta_data": "?smpp?a=b",
        "mclass": 1, "alt_dcs": 1, "validity": 90, "priority": 0});
    assert_eq!(Value::Object(sms.context), context);
    assert_eq!((sms.priority, sms.destination.as_deref()), (Priority::Bulk, Some("other")));
    assert_eq!(sms.expires_at, Some("2026-11-22T18:30:00Z".parse().unwrap()));
    let values = [('P', "1000"), ('o', "acc"), ('B', "b"), ('D', "?smpp?a=b"), ('m', "1")];
    let values = values.map(|(code, value)| (code, value.to_owned())).into();
    let url = "https://example.org/d?s=%d".to_owned();
    assert_eq!(sms.callback, Some(CallbackRequest { url, mask: 27, values }));
    let least = got("to=1&priority=3&validity=-1").unwrap();
    assert_eq!((least.priority, least.expires_at, least.callback), (Priority::Normal, None, None));
}

#[test]
fn a_callback_needs_both_its_address_and_its_mask() {
    for (query, callback) in [
        ("dlr-url=https://example.org/", None),
        ("dlr-mask=31", None),
        ("dlr-url=https://example.org/&dlr-mask=0", None),
        ("dlr-url=https://example.org/&dlr-mask=-1", None),
        ("dlr-url=HTTPS://example.org/&dlr-mask=63", Some(31)),
    ] {
        let got = got(&format!("to=1&{query}")).unwrap().callback;
        assert_eq!(got.map(|callback| callback.mask), callback, "{query}");
    }
}

#[test]
fn headers_say_the_same_beside_a_body_that_is_the_text() {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("x-kannel-to", " +1555 1666 "),
        ("x-kannel-from", "1000"),
        ("x-kannel-mclass", "1"),
        ("x-kannel-dlr-url", "https://example.org/"),
        ("x-kannel-dlr-mask", "1"),
        ("content-type", "text/plain; charset=\"ISO-8859-1\""),
    ] {
        headers.insert(name.parse().unwrap(), HeaderValue::from_static(value));
    }
    let sms = read(&SendsmsParameters::headers(&headers, b"caf\xe9", false), &EgressPolicy::default(), now())
        .unwrap();
    assert_eq!((numbers(&sms), sms.text.as_str()), (vec!["+1555", "1666"], "café"));
    assert_eq!(Value::Object(sms.context), json!({"from": "1000", "mclass": 1}));
    let callback = sms.callback.map(|callback| (callback.url, callback.mask));
    assert_eq!(callback, Some(("https://example.org/".to_owned(), 1)));
    headers.insert("content-type".parse().unwrap(), HeaderValue::from_static("application/octet-stream"));
    let octets =
        read(&SendsmsParameters::headers(&headers, b"\xff\xfe", true), &EgressPolicy::default(), now());
    assert_eq!(octets.unwrap_err().words, "Charset or body misformed, rejected");
}
