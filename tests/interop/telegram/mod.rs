//! Telegram, by python-telegram-bot: it writes updates that Postern accepts, reads them as Postern does, and
//! sends the same requests.

use crate::python;
use postern_tests::{Answer, Launch, Pair, Provider, Rabbit, Request};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const TOKEN: &str = "110201543:hush-AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";
const SECRET: &str = "hush-secret_token";

fn config(provider: &str) -> String {
    format!(
        "[retry]\ndelays = []\n[backends.telegram]\ntype = \"telegram\"\n[backends.telegram.settings]\n\
         bot_token = \"{TOKEN}\"\nsecret_token = \"{SECRET}\"\napi_url = \"{provider}\"\n"
    )
}

/// Updates as Telegram's documentation describes them: four messages, and three others.
fn updates() -> Value {
    let person = json!({"id": 1_111_111, "is_bot": false, "first_name": "Amina", "username": "amina"});
    let private = json!({"id": 1_111_111, "type": "private", "first_name": "Amina"});
    let group = json!({"id": -1_001_234_567_890_i64, "type": "supergroup", "title": "Ward"});
    let message = |chat: &Value, more: Value| {
        let mut message = json!({"message_id": 1365, "date": 1_441_645_532, "chat": chat, "from": person});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        message
    };
    let photo = json!([{"file_id": "AgADBAAD", "file_unique_id": "u", "width": 90, "height": 67}]);
    let contact = json!({"phone_number": "+254711000001", "first_name": "Amina"});
    json!([
        {"update_id": 10_000, "message": message(&private, json!({"text": "Habari & <asante> é 🙏"}))},
        {"update_id": 10_001, "message": message(&group, json!({"text": "/help"}))},
        {"update_id": 10_002, "message": message(&private, json!({"photo": photo, "caption": "the form"}))},
        {"update_id": 10_003, "message": message(&private, json!({"contact": contact}))},
        {"update_id": 10_004, "edited_message": message(&private, json!({"text": "edited", "edit_date": 1_441_645_540}))},
        {"update_id": 10_005, "callback_query": {"id": "4382bfdwdsb323b2d9", "from": person, "chat_instance": "1", "data": "yes"}},
        {"update_id": 10_006, "channel_post": message(&group, json!({"text": "to all"}))},
    ])
}

async fn library(base: &str, updates: Value, messages: Value) -> Value {
    let job = json!({"base": base, "token": TOKEN, "updates": updates, "messages": messages});
    python::ask("telegram/library.py", &job).await
}

#[tokio::test]
async fn postern_reads_the_updates_that_the_library_writes_as_the_library_does() {
    let vhost = Rabbit::shared().vhost();
    let config = vhost.config(&config("http://127.0.0.1:9"));
    let (ingress, tap) = tokio::join!(async { Launch::ingress(&config).start().await }, vhost.tap());
    let read = library("http://127.0.0.1:9", updates(), json!([])).await;
    let mut messages = 0;
    for update in read["updates"].as_array().unwrap() {
        let post = |secret: &str| {
            let request = ingress.request(Method::POST, "/backends/telegram");
            let request = request.header("X-Telegram-Bot-Api-Secret-Token", secret);
            let body = update["body"].as_str().unwrap().to_owned();
            ingress.fetch(request.header("Content-Type", "application/json").body(body))
        };
        assert_eq!(post("another").await.status, 403);
        assert_eq!(post(SECRET).await.status, 200, "{update}");
        let Some(reading) = update["reading"].as_object() else { continue };
        messages += 1;
        let mut ours = tap.take("postern.inbound").await.json();
        let fields = ours["fields"].take();
        let ours = |name: &str| ours.get(name).or_else(|| fields.get(name)).cloned().unwrap_or(Value::Null);
        for (name, theirs) in reading {
            assert_eq!(ours(name), *theirs, "{name} of {update}");
        }
    }
    assert_eq!(messages, 4);
    tap.depth_becomes("postern.inbound", 0).await;
    ingress.ends_silent(&["Habari", "1111111", "hush", "+254711000001"]).await;
}

/// The request line, and the parameters from JSON or a form as texts.
fn essence(request: &Request) -> (String, BTreeMap<String, String>) {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let parameters = match request.header("content-type") {
        Some("application/json") => {
            let json = request.json();
            json.as_object().unwrap().iter().map(|(name, value)| (name.clone(), text(value))).collect()
        }
        _ => request.form().into_iter().collect(),
    };
    (format!("{} {}", request.method, request.path), parameters)
}

#[tokio::test]
async fn postern_and_the_library_send_the_same_request() {
    let telegram = Provider::start().await;
    telegram.otherwise(|request| {
        let result = if request.path.ends_with("/getMe") {
            json!({"id": 110_201_543, "is_bot": true, "first_name": "Postern", "username": "postern_bot"})
        } else {
            json!({"message_id": 77, "date": 1_441_645_532, "chat": {"id": 1_111_111, "type": "private"}, "text": "x"})
        };
        Answer::json(200, &json!({"ok": true, "result": result}))
    });
    let pair = Pair::start(&config(&telegram.url(""))).await;
    for (to, text, context) in [
        ("1111111", "Habari & <asante> é 🙏\nkwaheri", json!({})),
        ("-1001234567890", "*bold*", json!({"parse_mode": "MarkdownV2"})),
        ("@a_channel", "hi", json!({})),
    ] {
        let outbound = json!({"backend": "telegram", "identities": [to], "text": text, "context": context});
        pair.tap.send(&outbound).await;
        let ours = telegram.take().await;
        let report = pair.tap.take("postern.reports").await.json();
        let mut message = json!({"chat_id": to, "text": text});
        message.as_object_mut().unwrap().extend(context.as_object().unwrap().clone());
        let sent = library(&telegram.url(""), json!([]), json!([message])).await;
        assert!(telegram.take().await.path.ends_with("/getMe"));
        assert_eq!(essence(&ours), essence(&telegram.take().await));
        assert_eq!(report["recipients"][0]["external_id"], sent["sent"][0].to_string());
    }
    pair.dispatcher.ends_silent(&["Habari", "1111111", "hush"]).await;
}
