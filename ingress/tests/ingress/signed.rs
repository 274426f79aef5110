//! Requests with a signed time that are repeated.

use crate::{
    client::{self, Answer},
    server::Running,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use jiff::Timestamp;
use postern_broker::BrokerError;
use sha2::Sha256;
use std::time::Duration;

/// The provider gives no ids of its own, so only the signature shows a repetition.
const CONFIG: &str = r#"
    [api]
    listen = "127.0.0.1:0"
    [ingress]
    dedupe_window = 0
    [backends.demo]
    type = "http"
    receive = { auth = { hmac = { secret = "key", header = "X-S", timestamp = { header = "X-T", tolerance = "1m" } } } }
    [backends.demo.status]
    params = { message_id = "message_id", state = "state" }
    states = { ok = "delivered" }
"#;
const BODY: &str = "identity=1&text=pay+100";

/// A POST of `body` to `path`, signed at `time`.
async fn post(server: &Running, path: &str, time: Timestamp, body: &str) -> Answer {
    let time = time.as_second().to_string();
    let mac = Hmac::<Sha256>::new_from_slice(b"key").unwrap().chain_update(format!("{time}.{body}"));
    let mac: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let kind = "application/x-www-form-urlencoded";
    let headers = [("Content-Type", kind), ("X-T", time.as_str()), ("X-S", mac.as_str())];
    client::send(server.address, &client::written("POST", path, &headers, body.as_bytes())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_signed_at_the_same_moment_is_the_same_request() {
    let server = Running::start(CONFIG).await;
    let now = Timestamp::now();
    let before = now - jiff::SignedDuration::from_secs(1);
    let (path, reports) = ("/backends/demo", "/backends/demo/status");
    assert_eq!(post(&server, path, now, BODY).await.status, 200);
    assert_eq!(server.inbound().len(), 1);
    let again = post(&server, path, now, BODY).await;
    assert_eq!((again.status, again.body.as_str()), (200, "OK"));
    assert_eq!(server.inbound(), []);
    assert_eq!(server.metric("postern_ingress_duplicates_total{backend=\"demo\"}"), Some(1.0));
    // Another moment, another text and another address are other requests.
    for (path, time, body) in
        [(path, before, BODY), (path, now, "identity=1&text=pay+200"), ("/backends/demo?x=1", now, BODY)]
    {
        assert_eq!(post(&server, path, time, body).await.status, 200);
        assert_eq!(server.inbound().len(), 1, "{path} {time} {body}");
    }
    let report = "message_id=0199b2a4-7000-7000-8000-000000000001&state=ok";
    for wanted in [1, 0] {
        assert_eq!(post(&server, reports, now, report).await.status, 200);
        assert_eq!(server.broker.take().len(), wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_recognized_until_it_is_no_longer_accepted() {
    let auth = r#"{ jwt = { secret = "key", tolerance = "1ms" } }"#;
    let config = format!(
        "[api]\nlisten = \"127.0.0.1:0\"\n[ingress]\ndedupe_window = 0\n\
         [backends.demo]\ntype = \"http\"\nreceive = {{ auth = {auth} }}\n"
    );
    let server = Running::start(&config).await;
    let claims = format!("{{\"exp\":{}}}", Timestamp::now().as_second() + 3_600);
    let parts = [r#"{"alg":"HS256"}"#, claims.as_str()];
    let [head, claims] = parts.map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
    let mac = Hmac::<Sha256>::new_from_slice(b"key").unwrap().chain_update(format!("{head}.{claims}"));
    let mac = BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    let (kind, token) = ("application/x-www-form-urlencoded", format!("Bearer {head}.{claims}.{mac}"));
    let headers = [("Content-Type", kind), ("Authorization", token.as_str())];
    let request = client::written("POST", "/backends/demo", &headers, BODY.as_bytes());
    assert_eq!(client::send(server.address, &request).await.status, 200);
    assert_eq!(server.inbound().len(), 1);
    // Much longer than the tolerance, and much shorter than the hour of the token.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(client::send(server.address, &request).await.status, 200);
    assert_eq!(server.inbound(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_stored_may_come_again_under_its_signature() {
    let server = Running::start(CONFIG).await;
    let now = Timestamp::now();
    server.broker.answer(|_| Err(BrokerError::Closed));
    assert_eq!(post(&server, "/backends/demo", now, BODY).await.status, 503);
    server.broker.answer(|_| Ok(()));
    assert_eq!(post(&server, "/backends/demo", now, BODY).await.status, 200);
    assert_eq!(server.inbound().len(), 1);
    // Two at the same time: one is stored, and both get the same answer.
    server.broker.held.send_replace(true);
    let body = "identity=1&text=at+once";
    let both = (post(&server, "/backends/demo", now, body), post(&server, "/backends/demo", now, body));
    let open = async {
        let mut begun = server.broker.begun.subscribe();
        begun.wait_for(|begun| *begun >= 3).await.unwrap();
        server.broker.held.send_replace(false);
    };
    let (first, second, ()) = tokio::join!(both.0, both.1, open);
    assert_eq!((first.status, second.status), (200, 200));
    assert_eq!(server.inbound().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn why_a_request_is_refused_is_counted_and_not_told() {
    let server = Running::start(CONFIG).await;
    let now = Timestamp::now();
    let stale = post(&server, "/backends/demo", now - jiff::SignedDuration::from_secs(62), BODY).await;
    let unsigned = server.form("/backends/demo", BODY).await;
    for answer in [stale, unsigned] {
        assert_eq!((answer.status, answer.body.as_str()), (403, "the signature is missing or wrong\n"));
    }
    assert_eq!(server.broker.take(), []);
    for reason in ["stale", "unsigned"] {
        let counted = format!("postern_ingress_refused_total{{backend=\"demo\",reason=\"{reason}\"}}");
        assert_eq!(server.metric(&counted), Some(1.0), "{reason}");
    }
}
