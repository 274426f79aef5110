//! Infobip, by its own Python client: Postern reads Infobip's requests as the client does, and sends the
//! client's request.

use crate::python;
use postern_tests::{Answer, Launch, Pair, Provider, Rabbit, Request};
use reqwest::Method;
use serde_json::{Value, json};

const PUBLIC: &str = "https://sms.example.org";
const KEY: &str = "hush-key-of-the-account";

fn config(provider: &str) -> String {
    format!(
        "[ingress]\npublic_url = \"{PUBLIC}\"\n[api]\nlisten = \"127.0.0.1:0\"\n[retry]\ndelays = []\n\
         [backends.infobip]\ntype = \"infobip\"\n[backends.infobip.settings]\napi_url = \"{provider}\"\n\
         api_key = \"{KEY}\"\nfrom = \"Postern\"\n"
    )
}

/// Two messages from people, and reports on two messages of ours, as Infobip's documentation describes them.
fn bodies() -> (Value, Value) {
    let message = |id: &str, text: &str| {
        json!({"messageId": id, "from": "254711000001", "to": "385921004026", "text": text, "cleanText": text,
            "keyword": "", "receivedAt": "2026-11-09T12:46:11.000+0000", "smsCount": 1, "callbackData": null})
    };
    let inbound = json!({"results": [message("817790313235066447", "Habari & asante é 🙏"), message("817790313235066448", "ndio")],
        "messageCount": 2, "pendingMessageCount": 0});
    let report = |id: &str, group: (u8, &str), name: &str, error: &str| {
        let status =
            json!({"groupId": group.0, "groupName": group.1, "id": 5, "name": name, "description": name});
        let error = json!({"groupId": 0, "groupName": "OK", "id": 0, "name": error, "description": error, "permanent": false});
        json!({"bulkId": "b", "messageId": id, "to": "254711000001", "sentAt": "2026-11-09T12:46:11.000+0000",
            "doneAt": "2026-11-09T12:46:12.000+0000", "messageCount": 1, "mccMnc": "22801",
            "price": {"pricePerMessage": 0.01, "currency": "EUR"}, "status": status, "error": error})
    };
    let delivered = report("m8", (3, "DELIVERED"), "DELIVERED_TO_HANDSET", "NO_ERROR");
    let undelivered =
        report("m9", (2, "UNDELIVERABLE"), "UNDELIVERABLE_NOT_DELIVERED", "EC_ABSENT_SUBSCRIBER");
    (inbound, json!({"results": [delivered, undelivered]}))
}

async fn client(base: &str, message: Value) -> Value {
    let (inbound, reports) = bodies();
    let job = json!({"base": base, "key": KEY, "inbound": inbound, "reports": reports, "message": message});
    python::ask("infobip/library.py", &job).await
}

fn seconds(time: &Value) -> i64 {
    time.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_second()
}

#[tokio::test]
async fn postern_reads_what_infobip_posts_as_the_client_does() {
    let vhost = Rabbit::shared().vhost();
    let config = vhost.config(&config("http://127.0.0.1:9"));
    let (ingress, tap) = tokio::join!(async { Launch::ingress(&config).start().await }, vhost.tap());
    let (inbound, reports) = bodies();
    let read = client("http://127.0.0.1:9", Value::Null).await;
    for (path, body) in [("/backends/infobip", inbound), ("/backends/infobip/status", reports)] {
        let reply = ingress.fetch(ingress.request(Method::POST, path).json(&body)).await;
        assert_eq!(reply.status, 200, "{}", reply.text);
    }
    for theirs in read["inbound"].as_array().unwrap() {
        let ours = tap.take("postern.inbound").await.json();
        let seen = json!({"identity": ours["identity"], "text": ours["text"], "external_id": ours["external_id"],
            "to": ours["fields"]["to"], "at": seconds(&ours["received_at"])});
        assert_eq!(seen, *theirs);
    }
    for (theirs, state) in read["reports"].as_array().unwrap().iter().zip(["delivered", "undelivered"]) {
        let ours = tap.take("postern.reports").await.json();
        let recipient = &ours["recipients"][0];
        assert_eq!(recipient["state"], state);
        let word = if state == "delivered" { "DELIVERED" } else { "UNDELIVERABLE" };
        let seen = json!({"identity": recipient["identity"], "external_id": recipient["external_id"], "state": word,
            "at": seconds(&ours["at"])});
        assert_eq!(seen, *theirs);
    }
    ingress.ends_silent(&["Habari", "254711000001", "hush"]).await;
}

fn essence(request: &Request) -> (String, String, Value) {
    let authorization = request.header("authorization").unwrap_or_default().to_owned();
    (format!("{} {}", request.method, request.path), authorization, request.json())
}

#[tokio::test]
async fn postern_and_the_client_send_the_same_request() {
    let infobip = Provider::start().await;
    let status = json!({"groupId": 1, "groupName": "PENDING", "id": 26, "name": "PENDING_ACCEPTED", "description": "sent"});
    let answer = json!({"bulkId": "b1", "messages": [{"messageId": "m9", "status": status, "destination": "254711000001"}]});
    infobip.otherwise(move |_| Answer::json(200, &answer));
    let pair = Pair::start(&config(&infobip.url(""))).await;
    let text = "Habari & asante é 🙏";
    pair.tap.send(&json!({"backend": "infobip", "identities": ["254711000001"], "text": text})).await;
    let ours = infobip.take().await;
    let report = pair.tap.take("postern.reports").await.json();
    let url =
        format!("{PUBLIC}/backends/infobip/status?message_id={}", report["message_id"].as_str().unwrap());
    let message = json!({"from": "Postern", "to": "254711000001", "text": text, "url": url});
    let sent = client(&infobip.url(""), message).await;
    assert_eq!(essence(&ours), essence(&infobip.take().await));
    assert_eq!(report["recipients"][0]["external_id"], sent["sent"]);
    pair.dispatcher.ends_silent(&["Habari", "254711000001", "hush"]).await;
}
