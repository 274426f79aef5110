//! Requests signed as Standard Webhooks specifies, with the time of the test, and the answers to those that are
//! refused.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use postern_tests::{Launch, Program, Reply, assert_silent, fetch};
use reqwest::Method;
use sha2::Sha256;

const OLD: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const NEW: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const BODY: &str = r#"{"identity": "+15551112222", "text": "the patient's test"}"#;

/// The signature `v1,…` with `secret`.
fn sign(secret: &str, id: &str, time: i64, body: &str) -> String {
    let key = BASE64_STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{time}.{body}").as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

async fn deliver(postern: &Program, time: i64, signature: &str) -> Reply {
    let request = postern.request(Method::POST, "/backends/signed").body(BODY);
    let request = request.header("Content-Type", "application/json").header("webhook-id", "msg_1");
    let request = request.header("webhook-timestamp", time).header("webhook-signature", signature);
    fetch(request).await.unwrap()
}

#[tokio::test]
async fn signed_now_is_taken_and_whatever_else_is_refused_in_the_same_words() {
    let config = format!(
        "[backends.signed]\ntype = \"http\"\n\
         receive = {{ auth = {{ standard_webhooks = {{ secret = [\"{NEW}\", \"{OLD}\"] }} }} }}\n"
    );
    let postern = Launch::gateway().config(&config).start().await;
    let now = Timestamp::now().as_second();
    let both = format!("v1,AAAA v1a,{NEW} {}", sign(OLD, "msg_1", now, BODY));
    for signature in [sign(NEW, "msg_1", now, BODY), both] {
        let reply = deliver(&postern, now, &signature).await;
        assert_eq!(reply.status, 200, "{signature}: {}", reply.text);
    }
    let other = "whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";
    let (past, future) = (now - 3_600, now + 3_600);
    let mut answers = Vec::new();
    for (time, signature) in [
        (now, String::new()),
        (now, sign(other, "msg_1", now, BODY)),
        (now, sign(NEW, "msg_2", now, BODY)),
        (now, sign(NEW, "msg_1", now, "{}")),
        (now, sign(NEW, "msg_1", past, BODY)),
        (past, sign(NEW, "msg_1", past, BODY)),
        (future, sign(NEW, "msg_1", future, BODY)),
    ] {
        let reply = deliver(&postern, time, &signature).await;
        answers.push((reply.status, reply.text));
    }
    let bare = postern.request(Method::POST, "/backends/signed").body(BODY);
    let bare = fetch(bare).await.unwrap();
    answers.push((bare.status, bare.text));
    answers.dedup();
    assert_eq!(answers, [(403, "the signature is missing or wrong\n".to_owned())]);
    let metrics = postern.metrics().await;
    for (reason, number) in [("unsigned", 1.0), ("signature", 5.0), ("stale", 2.0)] {
        let labels = [("backend", "signed"), ("reason", reason)];
        let counted = metrics.value("postern_ingress_refused_total", &labels);
        assert!((counted - number).abs() < f64::EPSILON, "{reason}: {counted}");
    }
    let log = postern.terminate().await.log;
    for word in ["\"refused\":\"signature\"", "\"refused\":\"stale\"", "\"client\":\"127.0.0.1\""] {
        assert!(log.contains(word), "{word}: {log}");
    }
    let lines: Vec<_> = log.lines().map(str::to_owned).collect();
    let secrets = [NEW, OLD, &NEW[6..], "+15551112222", "the patient's test", &sign(NEW, "msg_1", now, BODY)];
    assert_silent(&lines, &secrets);
}
