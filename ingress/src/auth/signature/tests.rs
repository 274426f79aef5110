//! Signatures as others make them: by GitHub's and Standard Webhooks' documentation, and by Python's
//! `hmac`.

use super::*;
use crate::auth::{RefusalReason, standard_webhooks};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use postern_config::backend::auth::signature::{Ed25519Auth, HmacAuth};
use postern_shared::value::{Settings, SigningKey};
use serde_json::{Value, json};
use std::time::Duration;

const HELLO: &str = "Hello, World!";
/// Of the time 1700000000, a full stop and that, under `key`.
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

/// A scheme by its own name, for the tables.
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
        let time = |_| {
            let begun = std::time::Instant::now();
            assert_eq!(verify(signed, &headers, &body, NOW), Err(RefusalReason::Signature));
            begun.elapsed()
        };
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
        // A fresh time in front of what was signed with another.
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

#[test]
fn standard_webhooks_are_signed_as_the_specification_says() {
    const BODY: &str = r#"{"test": 2432232314}"#;
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
    for (keys, id, time, signature, body, now, wanted) in [
        (vec![theirs.clone()], "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", RIGHT, BODY, signed, Ok(())),
        (vec![theirs.clone()], "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", &both, BODY, signed, Ok(())),
        (
            vec![other.clone(), theirs.clone()],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            RIGHT,
            BODY,
            signed,
            Ok(()),
        ),
        (
            vec![theirs.clone()],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            RIGHT,
            BODY,
            signed + seconds(300),
            Ok(()),
        ),
        (
            vec![other],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            RIGHT,
            BODY,
            signed,
            Err(RefusalReason::Signature),
        ),
        (
            vec![theirs.clone()],
            "msg_another",
            "1614265330",
            RIGHT,
            BODY,
            signed,
            Err(RefusalReason::Signature),
        ),
        (
            vec![theirs.clone()],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265331",
            RIGHT,
            BODY,
            signed,
            Err(RefusalReason::Signature),
        ),
        (
            vec![theirs.clone()],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            RIGHT,
            BODY,
            signed + seconds(301),
            Err(RefusalReason::Stale),
        ),
        (
            vec![theirs.clone()],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            RIGHT,
            BODY,
            signed - seconds(301),
            Err(RefusalReason::Stale),
        ),
        (
            vec![theirs.clone()],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            &RIGHT[3..],
            BODY,
            signed,
            Err(RefusalReason::Signature),
        ),
        (
            vec![theirs.clone()],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            &RIGHT.replace("v1,", "v1a,"),
            BODY,
            signed,
            Err(RefusalReason::Signature),
        ),
        (
            vec![theirs.clone()],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            "",
            BODY,
            signed,
            Err(RefusalReason::Signature),
        ),
        (
            vec![theirs],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            "1614265330",
            RIGHT,
            "{}",
            signed,
            Err(RefusalReason::Signature),
        ),
    ] {
        let lines = [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signature)];
        let scheme = Signed::StandardWebhooks(keys, tolerance);
        assert_eq!(
            verify(&scheme, &map(&lines), body.as_bytes(), now),
            wanted,
            "{id} {time} {signature} {body}"
        );
        // None of the three may be missing.
        for absent in 0..3 {
            let mut lines = lines.to_vec();
            lines.remove(absent);
            assert!(verify(&scheme, &map(&lines), body.as_bytes(), now).is_err());
        }
    }
}

/// By Slack's, Termii's and Plivo's documentation, made with Python's `hmac`.
#[test]
fn what_is_signed_is_the_templates() {
    let time = json!({"header": "X-Time"});
    let slack = json!({"prefix": "v0=", "signed": "v0:{{ timestamp }}:{{ body }}", "timestamp": time});
    let plivo = json!({
        "encoding": "base64",
        "signed": "{{ (url ~ '.') if '?' in url else (url ~ '?') }}{{ parameters }}.{{ headers['x-nonce'] }}",
    });
    let one_header = json!({"prefix": "v1=", "timestamp": {"header": "X-Signature", "prefix": "t="}});
    let slack_signature = "v0=c11a40bfe921957e5a1e132cd3807ff70c7a181d5e333f4b46dec243ed26491a";
    let sha512 = "7b735ac190ebd1432d56f95ae2aea5a04a23128f4c228e299b7a49fb7561de8cc8f4fdf4486dc743dfd07827d617273aab42b3bf819d243ded322fac167419f1";
    let [plain, with_query, with_port] = [
        "GPCLCEcuBQyb5CL5SRBNIfp0Z4IjR7KVnXsNkKUu+ZQ=",
        "Wo8KdT4Kb2H97TqE0iWRZiZgNVjaWW06q03yaeUjC9w=",
        "y4ljPE3LIgRFGEiVbdX1YvO+mli8tPQz3uDU9hkhXfo=",
    ];
    let together = "t=1700000000, v0=00, v1=c45fe0a756edde6b7d8578f2f13fbc88793867477dd2373cf8b0563d4eb5a6ba";
    let several = format!("AAAA,{plain}");
    let form = "From=1&Body=hi";
    for (change, target, signature, body, wanted) in [
        (&slack, "/backends/a", slack_signature, HELLO, Ok(())),
        (&slack, "/backends/a", &slack_signature[3..], HELLO, Err(RefusalReason::Signature)),
        (&slack, "/backends/a", slack_signature, "Hello", Err(RefusalReason::Signature)),
        (&json!({"algorithm": "sha512"}), "/backends/a", sha512, HELLO, Ok(())),
        (
            &json!({"algorithm": "sha512"}),
            "/backends/a",
            slack_signature,
            HELLO,
            Err(RefusalReason::Signature),
        ),
        (&plivo, "/backends/a", plain, form, Ok(())),
        (&plivo, "/backends/a", &several, form, Ok(())),
        (&plivo, "/backends/a", plain, "Body=hi&From=1", Ok(())),
        (&plivo, "/backends/a", with_port, form, Ok(())),
        (&plivo, "/backends/a?x=1", with_query, form, Ok(())),
        (&plivo, "/backends/a?x=2", with_query, form, Err(RefusalReason::Signature)),
        (&plivo, "/backends/b", plain, form, Err(RefusalReason::Signature)),
        (&plivo, "/backends/a", plain, "From=2&Body=hi", Err(RefusalReason::Signature)),
        (&one_header, "/backends/a", together, HELLO, Ok(())),
        (&one_header, "/backends/a", &together[2..], HELLO, Err(RefusalReason::Unsigned)),
    ] {
        let headers = map(&[("x-signature", signature), ("x-time", "1700000000"), ("x-nonce", "n1")]);
        let verified = verify_at(target, &scheme(change, &["key"]), &headers, body.as_bytes(), NOW);
        assert_eq!(verified, wanted, "{change} {target} {signature} {body}");
    }
    // What is no form has no parameters, so that nothing of it would be signed.
    let nothing = map(&[("x-signature", plain), ("x-nonce", "n1"), ("content-type", "application/json")]);
    let verified = verify(&scheme(&plivo, &["key"]), &nothing, form.as_bytes(), NOW);
    assert_eq!(verified, Err(RefusalReason::Unsigned));
}

/// Made with Python's `cryptography`, of the key whose secret is the bytes 0 to 31.
#[test]
fn an_ed25519_signature_is_known_by_the_public_key() {
    let base64 = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
    let hex = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8";
    let other = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    let telnyx = json!({"signed": "{{ timestamp }}|{{ body }}"});
    let discord = json!({"signed": "{{ timestamp }}{{ body }}", "encoding": "hex"});
    let signature =
        "FT16JCvprPihxOKHy34aYOGyKm7R1vXRdNM+piwnWgcgbLhQdgptx1IizHfLGoS9RamKHH9eFQE/68M7ZOpzDg==";
    let in_hex = "c66a97ed62f8af5732fb60f9978586bd6f6c120cf133ec5f7a10b8e205ea983a619bcff3956b7c01cdd9861d8329b852cb43f3b95cc225a96e533e69a5b46d03";
    let seconds = |late| NOW + Duration::from_secs(late);
    for (change, keys, given, body, now, wanted) in [
        (&telnyx, &[base64][..], signature, HELLO, NOW, Ok(())),
        (&telnyx, &[hex], signature, HELLO, seconds(300), Ok(())),
        (&telnyx, &[other, base64], signature, HELLO, NOW, Ok(())),
        (&telnyx, &[base64], signature, HELLO, seconds(301), Err(RefusalReason::Stale)),
        (&telnyx, &[other], signature, HELLO, NOW, Err(RefusalReason::Signature)),
        (&telnyx, &[base64], signature, "Hello", NOW, Err(RefusalReason::Signature)),
        (&telnyx, &[base64], &signature[4..], HELLO, NOW, Err(RefusalReason::Signature)),
        (&telnyx, &[base64], "", HELLO, NOW, Err(RefusalReason::Signature)),
        (&telnyx, &[base64], signature, "", NOW, Err(RefusalReason::Unsigned)),
        (&discord, &[base64], in_hex, HELLO, NOW, Ok(())),
        (&discord, &[base64], signature, HELLO, NOW, Err(RefusalReason::Signature)),
    ] {
        let mut auth = json!({"header": "X-Signature", "key": keys, "timestamp": {"header": "X-Time"}});
        auth.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let auth: Ed25519Auth = serde_json::from_value(auth).unwrap();
        let ready = Keys::Ed25519(auth.keys(&Settings::default()).unwrap());
        let signed = Signed::InHeader(Signature::new(&auth.shape(), ready, None));
        let headers = map(&[("x-signature", given), ("x-time", "1700000000")]);
        assert_eq!(verify(&signed, &headers, body.as_bytes(), now), wanted, "{change} {keys:?} {given}");
    }
}

#[test]
fn only_a_request_with_a_signed_time_has_a_fingerprint_and_each_its_own() {
    let of = |change: &Value, target: &str, lines: &[(&str, &str)], body: &str| {
        let Signed::InHeader(signature) = scheme(change, &["key"]) else { unreachable!() };
        let headers = map(lines);
        let request = Presented { headers: &headers, target, body: body.as_bytes(), now: NOW };
        signature.verify(&request).unwrap()
    };
    let timed = json!({"timestamp": {"header": "X-Time"}});
    let lines = [("x-time", "1700000000"), ("x-signature", POINT)];
    let first = of(&timed, "/backends/a", &lines, HELLO).unwrap();
    assert_eq!(of(&timed, "/backends/a", &lines, HELLO), Some(first));
    assert_ne!(of(&timed, "/backends/a/status?message_id=1", &lines, HELLO), Some(first));
    let untimed = [("x-signature", "f0JOLQ/2vV3sYm4BAnVbr+yRw1EPGXOaTq7I87w6AaQ=")];
    assert_eq!(of(&json!({"encoding": "base64"}), "/backends/a", &untimed, HELLO), None);
}
