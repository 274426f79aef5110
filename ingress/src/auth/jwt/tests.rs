//! Tokens as PyJWT makes them, and tokens that must be refused.

use super::*;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use hmac::Mac;
use serde_json::json;

const HELLO: &str = "Hello, World!";
const HASH: &str = "dffd6021bb2bd5b0af676290809ec3a53191dd81c7f70a4b28688a362182986f";
const URL: &str = "cc7cd877ec4ac0747d65b9bb2547d887ee7239556eef2e19513b4ad7cfe9b22b";
const KEY: &str = "a key of at least 32 characters!!";
const NOW: u64 = 1_700_000_000;

fn jwt(change: &Value) -> Jwt {
    let mut auth = json!({"secret": KEY});
    auth.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    let keys = vec!["another key".to_owned().into(), KEY.to_owned().into()];
    Jwt::new(&serde_json::from_value(auth).unwrap(), keys, Some("https://sms.example.org"))
}

fn token(head: &Value, claims: &Value, key: &str) -> String {
    let [head, claims] = [head, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = format!("{head}.{claims}");
    let mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap().chain_update(&signed);
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn verify(
    jwt: &Jwt,
    lines: &[(&str, &str)],
    target: &str,
    body: &str,
) -> Result<RequestFingerprint, RefusalReason> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    let now = Duration::from_secs(NOW);
    jwt.verify(&Presented { headers: &headers, target, body: body.as_bytes(), now })
}

#[test]
fn a_token_is_known_by_its_signature() {
    let vonage = jwt(&json!({"claims": {"payload_hash": "{{ body | sha256 }}", "iss": "Vonage"}}));
    let theirs = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3MDAwMDAwMDAsImp0aSI6ImoxIiwiaXNzIjoiVm9uYWdlIiwicGF5bG9hZF9oYXNoIjoiZGZmZDYwMjFiYjJiZDViMGFmNjc2MjkwODA5ZWMzYTUzMTkxZGQ4MWM3ZjcwYTRiMjg2ODhhMzYyMTgyOTg2ZiJ9.ZfV5f1-9ywYkyGLFGrFZ9uek8NF4aTTXnXu-4SjjSjM";
    let (claims, head) =
        (json!({"iat": NOW, "iss": "Vonage", "payload_hash": HASH}), json!({"alg": "HS256"}));
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJpYXQiOjE3MDAwMDAwMDAsInBheWxvYWRfaGFzaCI6ImRmZmQ2MDIxYmIyYmQ1YjBhZjY3NjI5MDgwOWVjM2E1MzE5MWRkODFjN2Y3MGE0YjI4Njg4YTM2MjE4Mjk4NmYifQ.";
    let hs512 = "eyJhbGciOiJIUzUxMiIsInR5cCI6IkpXVCJ9.eyJpYXQiOjE3MDAwMDAwMDAsInBheWxvYWRfaGFzaCI6ImRmZmQ2MDIxYmIyYmQ1YjBhZjY3NjI5MDgwOWVjM2E1MzE5MWRkODFjN2Y3MGE0YjI4Njg4YTM2MjE4Mjk4NmYifQ.yR79R3L5dfn_4ZzrI_6f4MF34DfgQdPcpJ2rdef6TYFeX5_PZRVcA3joDdi8di21E_LSb5rWqDGgHH1iEelmkw";
    let (head_and_claims, signature) = theirs.rsplit_once('.').unwrap();
    for (name, given, wanted) in [
        ("PyJWT's", format!("Bearer {theirs}"), Ok(())),
        ("another case", format!("bearer  {theirs}"), Ok(())),
        ("ours", format!("Bearer {}", token(&head, &claims, KEY)), Ok(())),
        ("no prefix", theirs.to_owned(), Err(RefusalReason::Unsigned)),
        ("nothing", String::new(), Err(RefusalReason::Unsigned)),
        ("an empty one", "Bearer ".to_owned(), Err(RefusalReason::Unsigned)),
        ("no signature", format!("Bearer {head_and_claims}."), Err(RefusalReason::Signature)),
        ("two parts", format!("Bearer {head_and_claims}"), Err(RefusalReason::Signature)),
        (
            "another signature",
            format!("Bearer {head_and_claims}.{}A", &signature[..42]),
            Err(RefusalReason::Signature),
        ),
        ("another key", format!("Bearer {}", token(&head, &claims, "x")), Err(RefusalReason::Signature)),
        ("alg none", format!("Bearer {none}"), Err(RefusalReason::Signature)),
        ("HS512", format!("Bearer {hs512}"), Err(RefusalReason::Signature)),
        (
            "alg none, signed",
            format!("Bearer {}", token(&json!({"alg": "none"}), &claims, KEY)),
            Err(RefusalReason::Signature),
        ),
        (
            "what is critical",
            format!("Bearer {}", token(&json!({"alg": "HS256", "crit": ["b64"]}), &claims, KEY)),
            Err(RefusalReason::Signature),
        ),
        ("no claims", format!("Bearer {}", token(&head, &json!([]), KEY)), Err(RefusalReason::Signature)),
    ] {
        let verified = verify(&vonage, &[("authorization", &given)], "/backends/a", HELLO);
        assert_eq!(verified.map(|_| ()), wanted, "{name}: {given}");
    }
    let twice = [("authorization", "Bearer x"), ("authorization", "Bearer y")];
    assert_eq!(verify(&vonage, &twice, "/backends/a", HELLO), Err(RefusalReason::Unsigned));
}

#[test]
fn its_times_must_be_near() {
    let jwt = jwt(&json!({"header": "X-Token", "tolerance": "1m"}));
    for (claims, wanted) in [
        (json!({"iat": NOW}), Ok(())),
        (json!({"iat": NOW - 60}), Ok(())),
        (json!({"iat": NOW - 61}), Err(RefusalReason::Stale)),
        (json!({"iat": NOW + 60}), Ok(())),
        (json!({"iat": NOW + 61}), Err(RefusalReason::Stale)),
        (json!({"iat": NOW - 3600, "exp": NOW + 1}), Ok(())),
        (json!({"exp": NOW - 60}), Ok(())),
        (json!({"exp": NOW - 61, "iat": NOW}), Err(RefusalReason::Stale)),
        (json!({"exp": NOW + 60, "nbf": NOW + 60}), Ok(())),
        (json!({"exp": NOW + 90, "nbf": NOW + 61}), Err(RefusalReason::Stale)),
        (json!({"iat": 1_700_000_000.5}), Ok(())),
        (json!({"nbf": NOW}), Err(RefusalReason::Claim)),
        (json!({}), Err(RefusalReason::Claim)),
        (json!({"iat": NOW.to_string()}), Err(RefusalReason::Claim)),
        (json!({"exp": NOW + 1, "nbf": null}), Err(RefusalReason::Claim)),
    ] {
        let token = token(&json!({"alg": "HS256"}), &claims, KEY);
        let verified = verify(&jwt, &[("x-token", &token)], "/backends/a", HELLO);
        assert_eq!(verified.map(|_| ()), wanted, "{claims}");
    }
}

#[test]
fn a_repetition_is_accepted_until_its_last_time_and_the_tolerance() {
    let jwt = jwt(&json!({"header": "X-Token", "tolerance": "1m"}));
    for (claims, seconds) in [
        (json!({"iat": NOW}), 60),
        (json!({"iat": NOW + 60}), 120),
        (json!({"iat": NOW - 60}), 0),
        (json!({"iat": NOW, "exp": NOW + 3600}), 3660),
        (json!({"exp": NOW - 59}), 1),
        (json!({"exp": 1e300}), 3_155_760_000),
    ] {
        let token = token(&json!({"alg": "HS256"}), &claims, KEY);
        let fingerprint = verify(&jwt, &[("x-token", &token)], "/backends/a", HELLO).unwrap();
        assert_eq!(fingerprint.accepted_for, Duration::from_secs(seconds), "{claims}");
    }
}

#[test]
fn its_claims_must_be_the_requests() {
    let hashes = json!({"payload_hash": "{{ body | sha256 }}", "url_hash": "{{ url | sha256 }}"});
    let both = jwt(&json!({"header": "X-Token", "claims": hashes}));
    let body = jwt(&json!({"header": "X-Token", "claims": {"payload_hash": "{{ body | sha256 }}"}}));
    let whole = json!({"payload_hash": HASH, "url_hash": URL});
    for (jwt, claims, target, text, wanted) in [
        (&both, whole.clone(), "/backends/a", HELLO, Ok(())),
        (&both, whole.clone(), "/backends/a", "Hello", Err(RefusalReason::Claim)),
        (&both, whole.clone(), "/backends/a?id=1", HELLO, Err(RefusalReason::Claim)),
        (&both, json!({"url_hash": URL}), "/backends/a", HELLO, Err(RefusalReason::Claim)),
        (&both, json!({"payload_hash": 7, "url_hash": URL}), "/backends/a", HELLO, Err(RefusalReason::Claim)),
        // A request without a body, whose address is in the token.
        (&both, json!({"url_hash": URL}), "/backends/a", "", Ok(())),
        (&both, json!({"url_hash": URL}), "/backends/a?id=1", "", Err(RefusalReason::Claim)),
        (&both, whole, "/backends/a", "", Err(RefusalReason::Claim)),
        // A request without a body, of which nothing is in the token.
        (&body, json!({}), "/backends/a?id=1", "", Err(RefusalReason::Unsigned)),
        (&body, json!({"payload_hash": HASH}), "/backends/a", HELLO, Ok(())),
    ] {
        let mut claims = claims;
        claims["iat"] = NOW.into();
        let token = token(&json!({"alg": "HS256"}), &claims, KEY);
        let verified = verify(jwt, &[("x-token", &token)], target, text);
        assert_eq!(verified.map(|_| ()), wanted, "{claims} {target} {text}");
    }
}
