//! The handshake that a provider makes first, and bodies that are declared as something else.

use crate::{client, server::Running};
use serde_json::json;

const CHAT: &str = r#"
    [backends.chat]
    type = "http"
    [backends.chat.receive]
    methods = ["POST"]
    params = { identity = "/from", text = "/text" }
    challenge = { when = 'query["hub.verify_token"] == "t0ken"', reply = "{{ query['hub.challenge'] }}" }
    auth = { hmac = { secret = "s", header = "X-Hub-Signature-256", prefix = "sha256=" } }
    [backends.posts]
    type = "http"
    [backends.posts.receive]
    params = { identity = "/from", text = "/text" }
    challenge = { when = 'body.type == "url_verification"', reply = '{"challenge": {{ body.challenge | tojson }}}' }
    [backends.near]
    type = "http"
    [backends.near.receive]
    allow = ["192.0.2.1"]
    challenge = { when = "has(query.c)", reply = "{{ query.c }}" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_get_that_is_a_challenge_needs_no_proof_and_any_other_request_does() {
    let server = Running::start(CHAT).await;
    for (path, status, body) in [
        ("/backends/chat?hub.verify_token=t0ken&hub.challenge=115%3C8", 200, "115<8"),
        ("/backends/chat/?hub.challenge=7&hub.verify_token=t0ken", 200, "7"),
        ("/backends/chat?hub.verify_token=t0ken", 200, ""),
        ("/backends/chat?hub.verify_token=other&hub.challenge=7", 405, "method not allowed\n"),
        ("/backends/chat", 405, "method not allowed\n"),
        ("/backends/near?c=1", 403, "this address is not allowed here\n"),
    ] {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{path}");
        if status == 200 {
            assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        }
    }
    let unsigned = server.json("/backends/chat?hub.verify_token=t0ken&hub.challenge=7", &json!({})).await;
    assert_eq!(unsigned.status, 403, "only a GET");
    assert_eq!(server.inbound(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_posted_challenge_is_no_message() {
    let server = Running::start(CHAT).await;
    let asked =
        server.json("/backends/posts", &json!({"type": "url_verification", "challenge": "a\"b"})).await;
    assert_eq!((asked.status, asked.body.as_str()), (200, r#"{"challenge": "a\"b"}"#));
    let message = server.json("/backends/posts", &json!({"from": "1", "text": "hi"})).await;
    assert_eq!((message.status, message.body.as_str()), (200, "OK"));
    assert_eq!(server.inbound().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_is_what_format_says_whatever_it_is_declared_as() {
    let server = Running::start(
        r#"
        [backends.json]
        type = "http"
        receive = { format = "json" }
        status = { format = "form", states = { ok = "delivered" } }
        [backends.form]
        type = "http"
        receive = { format = "form" }
        "#,
    )
    .await;
    let (json, form) = (r#"{"identity":"1","text":"hi"}"#, "identity=1&text=hi");
    let multipart = "--B\r\nContent-Disposition: form-data; name=\"identity\"\r\n\r\n1\r\n\
                     --B\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nhi\r\n--B--\r\n";
    let declared = ["application/json", "application/x-www-form-urlencoded", "text/plain", "image/png", ""];
    for (path, body) in [("/backends/json", json), ("/backends/form", form)] {
        for kind in declared {
            assert_eq!(server.post(path, kind, body.as_bytes()).await.status, 200, "{path} {kind:?}");
            assert_eq!(server.inbound().len(), 1, "{path} {kind:?}");
        }
        assert_eq!(server.get(&format!("{path}?{form}")).await.status, 200, "{path}");
        assert_eq!(server.inbound().len(), 1, "{path}");
    }
    let kind = "multipart/form-data; boundary=B";
    assert_eq!(server.post("/backends/form", kind, multipart.as_bytes()).await.status, 200);
    assert_eq!(server.inbound().len(), 1);
    assert_eq!(server.post("/backends/json", "application/json", form.as_bytes()).await.status, 400);
    let report = b"external_id=r&state=ok";
    assert_eq!(server.post("/backends/json/status", "application/json", report).await.status, 200);
    let query = client::written("POST", &format!("/backends/form?{form}"), &[], b"");
    assert_eq!(client::send(server.address, &query).await.status, 200, "an empty body");
}
