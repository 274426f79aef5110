//! Postern's request is the same as that of Twilio's library, and Twilio's callback on it becomes a report.

use super::{Job, TOKEN, sign};
use crate::{python, reports::Reports};
use postern_tests::{Answer, Launch, Pair, Provider, Rabbit, Request};
use reqwest::Method;
use serde_json::{Value, json};

const PUBLIC: &str = "https://sms.example.org";
/// The application's API key.
const KEY: &str = "hush-key-of-the-application";

/// The parts that matter: the request line, the headers that Twilio reads, and the form, sorted.
fn essence(request: &Request) -> (Vec<&str>, Vec<(String, String)>) {
    let header = |name: &str| request.header(name).unwrap_or_default();
    let mut form = request.form();
    form.sort();
    (vec![&request.method, &request.path, header("authorization"), header("content-type")], form)
}

#[tokio::test]
async fn postern_and_the_library_send_the_same_request() {
    let twilio = Provider::start().await;
    twilio.otherwise(|_| Answer::json(201, &json!({"sid": "SM9", "status": "queued"})));
    let vhost = Rabbit::shared().vhost();
    let account = |name: &str, from: &str| {
        format!(
            "[backends.{name}]\ntype = \"twilio\"\n[backends.{name}.settings]\naccount_sid = \"AC123\"\n\
             auth_token = \"{TOKEN}\"\napi_url = \"{}\"\n{from}\n",
            twilio.url("")
        )
    };
    let config = format!(
        "[ingress]\npublic_url = \"{PUBLIC}\"\n[[api.keys]]\nname = \"app\"\nkey = \"{KEY}\"\nbackends = [\"*\"]\n"
    ) + &account("number", "from = \"+15550000\"")
        + &account("service", "messaging_service_sid = \"MG7\"");
    let config = vhost.config(&config);
    let (ingress, dispatcher) = (Launch::ingress(&config), Launch::dispatcher(&config));
    let (ingress, dispatcher) = tokio::join!(ingress.start(), dispatcher.start());
    let pair = Pair { ingress, dispatcher, tap: vhost.tap().await, vhost };
    for (backend, context, more) in [
        ("number", json!({}), json!({"from_": "+15550000"})),
        ("number", json!({"from": "+15550009"}), json!({"from_": "+15550009"})),
        ("service", json!({}), json!({"messaging_service_sid": "MG7"})),
        (
            "number",
            json!({"media": "https://h.example/a%20b.png?c=é"}),
            json!({"from_": "+15550000", "media_url": ["https://h.example/a%20b.png?c=é"]}),
        ),
    ] {
        let text = "café & 1+1=2 😀\nbye";
        let message = json!({"backend": backend, "to": "+15550001", "text": text, "context": context});
        let request = pair.ingress.request(Method::POST, "/v1/messages").bearer_auth(KEY).json(&message);
        let id = pair.ingress.fetch(request).await.json()["id"].clone();
        let ours = twilio.take().await;
        let callback = format!("{PUBLIC}/backends/{backend}/status?message_id={}", id.as_str().unwrap());
        let mut theirs = json!({"to": "+15550001", "body": text, "status_callback": callback});
        theirs.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let job =
            json!({"base": twilio.url(""), "account_sid": "AC123", "auth_token": TOKEN, "message": theirs});
        assert_eq!(python::ask("twilio/send.py", &job).await, "SM9");
        assert_eq!(essence(&ours), essence(&twilio.take().await));
        reported(&pair, &callback, &id).await;
    }
    pair.dispatcher.ends_silent(&["+15550001", "café", TOKEN]).await;
}

/// Has Twilio call back, and checks that the report is about our message.
async fn reported(pair: &Pair, callback: &str, id: &Value) {
    let mut reports = Reports::of(&pair.tap);
    reports.until("sent", &["+15550001"]).await;
    let target = callback.strip_prefix(PUBLIC).unwrap();
    let params =
        [("MessageSid", "SM9"), ("MessageStatus", "delivered"), ("To", "+15550001"), ("AccountSid", "AC123")];
    let callback = sign(vec![Job::form(PUBLIC, target, &params)]).await.remove(0);
    let reply = callback.arrives(&pair.ingress).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "<Response/>"));
    reports.until("delivered", &["+15550001"]).await;
    assert_eq!(reports.messages(), [id.as_str().unwrap()].into());
}
