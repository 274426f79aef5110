//! SMSGate for Android, by its own Python client: Postern reads events as the client does, and sends the
//! client's request. Events are signed as SMSGate's documentation says.

use crate::python;
use hmac::{Hmac, Mac as _};
use postern_tests::{Answer, Launch, Pair, Provider, Rabbit, Request};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

const KEY: &str = "hush-signing-key";

fn config(provider: &str) -> String {
    format!(
        "[retry]\ndelays = []\n[backends.smsgate]\ntype = \"smsgate\"\n[backends.smsgate.settings]\n\
         username = \"user\"\npassword = \"hush\"\nsigning_key = \"{KEY}\"\napi_url = \"{provider}/3rdparty/v1\"\n"
    )
}

async fn client(base: &str, events: Value, messages: Value) -> Value {
    let job = json!({"base": format!("{base}/3rdparty/v1"), "username": "user", "password": "hush", "events": events,
        "messages": messages});
    python::ask("smsgate/library.py", &job).await
}

/// HMAC-SHA256 of the body followed by the time, in hexadecimal digits.
fn signature(key: &str, body: &str, timestamp: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    mac.update(timestamp.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn postern_reads_events_as_the_client_does() {
    let vhost = Rabbit::shared().vhost();
    let config = vhost.config(&config("http://127.0.0.1:9"));
    let (ingress, tap) = tokio::join!(async { Launch::ingress(&config).start().await }, vhost.tap());
    let event = |id: &str, sim: Value, recipient: Value| {
        let payload = json!({"messageId": "abc123", "message": "Habari & asante é 🙏", "sender": "+254711000001",
            "recipient": recipient, "phoneNumber": "+254711000001", "simNumber": sim,
            "receivedAt": "2026-11-22T15:46:11.000+03:00"});
        json!({"deviceId": "ffffffffceb0b1db", "event": "sms:received", "id": id, "payload": payload, "webhookId": "w1"})
    };
    // The same person sends the same text again, so SMSGate's messageId is the same, too.
    let events = json!([
        event("Ey6ECgOkVVFjz3CL48B8C", json!(1), json!("+254720000000")),
        event("Ey6ECgOkVVFjz3CL48B8D", json!(1), json!("+254720000000")),
        event("Ey6ECgOkVVFjz3CL48B8E", Value::Null, Value::Null),
    ]);
    let read = client("http://127.0.0.1:9", events.clone(), json!([])).await;
    let now = jiff::Timestamp::now().as_second();
    for (event, theirs) in events.as_array().unwrap().iter().zip(read["readings"].as_array().unwrap()) {
        let body = event.to_string();
        let post = |key: &str, at: i64| {
            let at = at.to_string();
            let request = ingress.request(Method::POST, "/backends/smsgate").header("X-Timestamp", &at);
            let request = request.header("X-Signature", signature(key, &body, &at));
            ingress.fetch(request.header("Content-Type", "application/json").body(body.clone()))
        };
        assert_eq!(post("another", now).await.status, 403);
        assert_eq!(post(KEY, now - 3600).await.status, 403, "an hour old");
        assert_eq!(post(KEY, now).await.status, 200);
        let ours = tap.take("postern.inbound").await.json();
        let at: jiff::Timestamp = ours["received_at"].as_str().unwrap().parse().unwrap();
        let mut seen = json!({"identity": ours["identity"], "text": ours["text"], "at": at.as_second()});
        for name in ["to", "message_id", "sim_number"] {
            seen[name] = ours["fields"].get(name).cloned().unwrap_or(Value::Null);
        }
        assert_eq!(seen, *theirs);
    }
    tap.depth_becomes("postern.inbound", 0).await;
    ingress.ends_silent(&["Habari", "+254711000001", "hush"]).await;
}

/// The request line, the credentials, and the body without what the client adds about itself or by default.
fn essence(request: &Request) -> (String, String, Value) {
    let mut body = request.json();
    for (name, default) in
        [("priority", json!(0)), ("withDeliveryReport", json!(true)), ("isEncrypted", json!(false))]
    {
        if body.get(name) == Some(&default) {
            body.as_object_mut().unwrap().remove(name);
        }
    }
    let authorization = request.header("authorization").unwrap_or_default().to_owned();
    (format!("{} {}", request.method, request.path), authorization, body)
}

#[tokio::test]
async fn postern_and_the_client_send_the_same_request() {
    let smsgate = Provider::start().await;
    smsgate.otherwise(|request| {
        let id = request.json()["id"].clone();
        Answer::json(202, &json!({"id": id, "state": "Pending", "recipients": []}))
    });
    let pair = Pair::start(&config(&smsgate.url(""))).await;
    for (to, context, more) in [
        (json!(["+254711000001"]), json!({}), json!({})),
        (
            json!(["+254711000001", "+254711000002"]),
            json!({"sim_number": 2, "ttl": 3600, "priority": 100}),
            json!({"sim_number": 2, "ttl": 3600, "priority": 100}),
        ),
    ] {
        let text = "Habari & asante é 🙏";
        pair.tap
            .send(&json!({"backend": "smsgate", "identities": to, "text": text, "context": context}))
            .await;
        let ours = smsgate.take().await;
        let report = pair.tap.take("postern.reports").await.json();
        let mut message = json!({"phone_numbers": to, "text": text, "id": ours.json()["id"]});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let sent = client(&smsgate.url(""), json!([]), json!([message])).await;
        assert_eq!(essence(&ours), essence(&smsgate.take().await));
        assert_eq!(report["message_id"], sent["sent"][0]);
        assert_eq!(report["recipients"][0]["external_id"], sent["sent"][0]);
    }
    pair.dispatcher.ends_silent(&["Habari", "+254711000001", "hush"]).await;
}
