//! Signatures of texts that a template makes, and Ed25519.

use super::*;
use postern_config::backend::auth::signature::Ed25519Auth;
use postern_shared::value::Settings;

/// The signatures follow Slack's, Termii's and Plivo's documentation and are made with Python's `hmac`.
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
    // A body that is not a form has no parameters, so nothing of it would be signed.
    let nothing = map(&[("x-signature", plain), ("x-nonce", "n1"), ("content-type", "application/json")]);
    let verified = verify(&scheme(&plivo, &["key"]), &nothing, form.as_bytes(), NOW);
    assert_eq!(verified, Err(RefusalReason::Unsigned));
}

/// The signature is made with Python's `cryptography` and the key whose secret is the bytes 0 to 31.
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
