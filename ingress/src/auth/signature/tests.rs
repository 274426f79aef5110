//! Signatures from GitHub's and Standard Webhooks' documentation, and from Python's `hmac`.

use super::*;
use crate::{auth::standard_webhooks, processor_time::processor_time, refusal_reason::RefusalReason};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use postern_config::backend::auth::signature::HmacAuth;
use postern_shared::value::SigningKey;
use serde_json::{Value, json};
use std::time::Duration;

const HELLO: &str = "Hello, World!";
/// The MAC of the time 1700000000, a full stop and [`HELLO`], with the secret `key`.
const POINT: &str = "c45fe0a756edde6b7d8578f2f13fbc88793867477dd2373cf8b0563d4eb5a6ba";
const NOW: Duration = Duration::from_secs(1_700_000_000);

fn map(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

mod templates;

/// The schemes that the tables of the tests use.
enum Signed {
    InHeader(Signature),
    StandardWebhooks(Vec<SigningKey>, Duration),
}

fn scheme(change: &Value, keys: &[&str]) -> Signed {
    let mut scheme = json!({"header": "X-Signature", "secret": keys});
    for (key, value) in change.as_object().unwrap() {
        scheme[key] = value.clone();
    }
    let scheme: HmacAuth = serde_json::from_value(scheme).unwrap();
    let keys = keys.iter().map(|key| (*key).to_owned().into()).collect();
    let keys = Keys::Hmac(scheme.algorithm, keys);
    Signed::InHeader(Signature::new(&scheme.shape(), keys, Some("https://sms.example.org")))
}

fn verify(signed: &Signed, headers: &HeaderMap, body: &[u8], now: Duration) -> Result<(), RefusalReason> {
    verify_at("/backends/a", signed, headers, body, now)
}

fn verify_at(
    target: &str,
    signed: &Signed,
    headers: &HeaderMap,
    body: &[u8],
    now: Duration,
) -> Result<(), RefusalReason> {
    let request = Presented { headers, target, body, now };
    match signed {
        Signed::InHeader(signature) => signature.verify(&request).map(|_| ()),
        Signed::StandardWebhooks(keys, tolerance) => {
            standard_webhooks::verify(keys, *tolerance, &request).map(|_| ())
        }
    }
}

#[test]
fn an_hmac_of_the_body_is_known_in_every_spelling() {
    let github = scheme(&json!({"prefix": "sha256="}), &["It's a Secret to Everybody"]);
    let right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let upper = format!("sha256={}", right[7..].to_uppercase());
    for (given, body, wanted) in [
        (&[right][..], HELLO, true),
        (&[&upper], HELLO, true),
        (&["sha256=00", right], HELLO, true),
        (&[&right[7..]], HELLO, false),
        (&[&right[..right.len() - 2]], HELLO, false),
        (&[&right[..right.len() - 1]], HELLO, false),
        (&[&format!("{right}00")], HELLO, false),
        (&["sha256="], HELLO, false),
        (&["sha256=zz"], HELLO, false),
        (&[""], HELLO, false),
        (&[], HELLO, false),
        (&[right], "Hello, World?", false),
    ] {
        let lines: Vec<_> = given.iter().map(|value| ("x-signature", *value)).collect();
        let verified = verify(&github, &map(&lines), body.as_bytes(), NOW);
        let why = if given.is_empty() { RefusalReason::Unsigned } else { RefusalReason::Signature };
        assert_eq!(verified, if wanted { Ok(()) } else { Err(why) }, "{given:?} {body}");
    }
}

#[test]
fn however_many_signatures_are_shown_the_body_is_read_once() {
    let webhooks = Signed::StandardWebhooks(
        vec![SigningKey::parse("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap()],
        NOW,
    );
    let hmac = scheme(&json!({}), &["key"]);
    let body = vec![b'x'; 1 << 20];
    let fastest = |signed: &Signed, given: &str| {
        let time = NOW.as_secs().to_string();
        let lines = [("webhook-id", "1"), ("webhook-timestamp", &time), ("webhook-signature", given)];
        let other = given.split(' ').map(|_| ("x-signature", "00"));
        let headers = map(&lines.into_iter().chain(other).collect::<Vec<_>>());
        let verified = || assert_eq!(verify(signed, &headers, &body, NOW), Err(RefusalReason::Signature));
        let time = |_| processor_time(verified);
        (0..3).map(time).min().unwrap()
    };
    for signed in [&webhooks, &hmac] {
        let [one, many] = [1, 500].map(|times| fastest(signed, &["v1,AAAA"].repeat(times).join(" ")));
        assert!(many < one * 50, "one takes {one:?}, 500 take {many:?}");
    }
}

#[test]
fn hash_encoding_and_keys_are_the_configurations() {
    for (change, keys, given, body, wanted) in [
        (
            json!({"encoding": "base64"}),
            &["key"][..],
            "f0JOLQ/2vV3sYm4BAnVbr+yRw1EPGXOaTq7I87w6AaQ=",
            HELLO,
            true,
        ),
        (
            json!({"encoding": "base64"}),
            &["key"],
            "f0JOLQ/2vV3sYm4BAnVbr+yRw1EPGXOaTq7I87w6AaQ=".trim_end_matches('='),
            HELLO,
            true,
        ),
        (json!({}), &["key"], "f0JOLQ/2vV3sYm4BAnVbr+yRw1EPGXOaTq7I87w6AaQ=", HELLO, false),
        (json!({"algorithm": "sha1"}), &["key"], "b688f6f2602474b86713f193726755f0095edc8b", HELLO, true),
        (json!({}), &["key"], "b688f6f2602474b86713f193726755f0095edc8b", HELLO, false),
        (
            json!({}),
            &["new", "old"],
            "ed11bca9943d125e851a8fae3c72c4353eb543d8cf963d040c2f9812cce7b3a4",
            HELLO,
            true,
        ),
        (
            json!({}),
            &["new"],
            "ed11bca9943d125e851a8fae3c72c4353eb543d8cf963d040c2f9812cce7b3a4",
            HELLO,
            false,
        ),
        (json!({}), &["key"], "5d5d139563c95b5967b9bd9a8c9b233a9dedb45072794cd232dc1b74832607d0", "", false),
    ] {
        let verified = verify(&scheme(&change, keys), &map(&[("x-signature", given)]), body.as_bytes(), NOW);
        assert_eq!(verified.is_ok(), wanted, "{change} {given}");
    }
}

#[test]
fn a_signed_time_must_be_near() {
    let point = json!({"timestamp": {"header": "X-Time"}});
    let colon =
        json!({"signed": "{{ timestamp }}:{{ body }}", "timestamp": {"header": "X-Time", "tolerance": "1m"}});
    let (seconds, milliseconds) = ("1700000000", "1700000000123");
    for (change, time, signature, distance, wanted) in [
        (&point, Some(seconds), POINT, 0, Ok(())),
        (&point, Some(seconds), POINT, 300, Ok(())),
        (&point, Some(seconds), POINT, -300, Ok(())),
        (&point, Some(seconds), POINT, 301, Err(RefusalReason::Stale)),
        (&point, Some(seconds), POINT, -301, Err(RefusalReason::Stale)),
        (
            &point,
            Some(milliseconds),
            "767ec5a0267719a36811e47fbc258d4af3f96439d974f29936aa0165c6a71d2d",
            0,
            Ok(()),
        ),
        (
            &point,
            Some(milliseconds),
            "767ec5a0267719a36811e47fbc258d4af3f96439d974f29936aa0165c6a71d2d",
            310,
            Err(RefusalReason::Stale),
        ),
        (
            &colon,
            Some(seconds),
            "fc3d86d2c268d3f62ce4f637b4cd0bfe89a5ceb269fe931987ca08fb93e6ddd9",
            60,
            Ok(()),
        ),
        (
            &colon,
            Some(seconds),
            "fc3d86d2c268d3f62ce4f637b4cd0bfe89a5ceb269fe931987ca08fb93e6ddd9",
            61,
            Err(RefusalReason::Stale),
        ),
        (&colon, Some(seconds), POINT, 0, Err(RefusalReason::Signature)),
        // A fresh time with the signature of another time.
        (&point, Some("1700000301"), POINT, 301, Err(RefusalReason::Signature)),
        (&point, Some("-1"), POINT, 0, Err(RefusalReason::Signature)),
        (&point, Some("1e9"), POINT, 0, Err(RefusalReason::Signature)),
        (&point, Some("18446744073709551615"), POINT, 0, Err(RefusalReason::Stale)),
        (&point, None, POINT, 0, Err(RefusalReason::Unsigned)),
    ] {
        let lines = time.map(|time| ("x-time", time)).into_iter().chain([("x-signature", signature)]);
        let headers = map(&lines.collect::<Vec<_>>());
        let now = Duration::from_secs(NOW.as_secs().checked_add_signed(distance).unwrap());
        let verified = verify(&scheme(change, &["key"]), &headers, HELLO.as_bytes(), now);
        assert_eq!(verified, wanted, "{time:?} {distance}");
    }
}

/// A request that is signed as the specification says.
#[derive(Debug)]
struct StandardRequest<'a> {
    keys: Vec<SigningKey>,
    id: &'a str,
    time: &'a str,
    signature: &'a str,
    body: &'a str,
    now: Duration,
}

#[test]
fn standard_webhooks_are_signed_as_the_specification_says() {
    const RIGHT: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    let key = |text: &str| SigningKey::parse(text).unwrap();
    let (theirs, other) = (
        key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        key("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
    );
    let tolerance = Duration::from_secs(300);
    let signed = Duration::from_secs(1_614_265_330);
    let seconds = Duration::from_secs;
    let both = format!("v1,O4Gjv1HqPqsMrjmczoggs/sWA8gZD0VyHG+fLh4+ktI= {RIGHT}");
    let right = || StandardRequest {
        keys: vec![theirs.clone()],
        id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
        time: "1614265330",
        signature: RIGHT,
        body: r#"{"test": 2432232314}"#,
        now: signed,
    };
    let (later, earlier) = (signed + seconds(301), signed - seconds(301));
    let other_version = RIGHT.replace("v1,", "v1a,");
    for (request, wanted) in [
        (right(), Ok(())),
        (StandardRequest { signature: &both, ..right() }, Ok(())),
        (StandardRequest { keys: vec![other.clone(), theirs.clone()], ..right() }, Ok(())),
        (StandardRequest { now: signed + seconds(300), ..right() }, Ok(())),
        (StandardRequest { keys: vec![other], ..right() }, Err(RefusalReason::Signature)),
        (StandardRequest { id: "msg_another", ..right() }, Err(RefusalReason::Signature)),
        (StandardRequest { time: "1614265331", ..right() }, Err(RefusalReason::Signature)),
        (StandardRequest { now: later, ..right() }, Err(RefusalReason::Stale)),
        (StandardRequest { now: earlier, ..right() }, Err(RefusalReason::Stale)),
        (StandardRequest { signature: &RIGHT[3..], ..right() }, Err(RefusalReason::Signature)),
        (StandardRequest { signature: &other_version, ..right() }, Err(RefusalReason::Signature)),
        (StandardRequest { signature: "", ..right() }, Err(RefusalReason::Signature)),
        (StandardRequest { body: "{}", ..right() }, Err(RefusalReason::Signature)),
    ] {
        let shown = format!("{request:?}");
        let StandardRequest { keys, id, time, signature, body, now } = request;
        let lines = [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)];
        let scheme = Signed::StandardWebhooks(keys, tolerance);
        assert_eq!(verify(&scheme, &map(&lines), body.as_bytes(), now), wanted, "{shown}");
        // None of the three may be missing.
        for absent in 0..3 {
            let mut lines = lines.to_vec();
            lines.remove(absent);
            assert!(verify(&scheme, &map(&lines), body.as_bytes(), now).is_err());
        }
    }
}
