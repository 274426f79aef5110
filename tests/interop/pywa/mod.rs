//! WhatsApp, by pywa: it accepts the same signatures as Postern, reads updates as Postern does, and sends the
//! same requests.

use crate::python;
use hmac::{Hmac, Mac as _};
use postern_tests::{Answer, Launch, Pair, Provider, Rabbit, Request};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

const PHONE_ID: &str = "106540352242922";
const TOKEN: &str = "hush-token";
const SECRET: &str = "hush-secret-of-the-app";
/// A person's business-scoped user id.
const USER: &str = "KE.13491208655302741918";

fn config(provider: &str) -> String {
    format!(
        "[retry]\ndelays = []\n[backends.whatsapp]\ntype = \"whatsapp\"\n[backends.whatsapp.settings]\n\
         phone_number_id = \"{PHONE_ID}\"\naccess_token = \"{TOKEN}\"\napp_secret = \"{SECRET}\"\n\
         verify_token = \"hush-verify\"\napi_url = \"{provider}/v25.0\"\n"
    )
}

/// An update about a person, as in Meta's documentation; `what` is `messages` or `statuses`, with one item.
fn update(what: &str, item: &Value) -> String {
    let contact = json!({"profile": {"name": "Amina"}, "wa_id": "254711000001", "user_id": USER});
    let metadata = json!({"display_phone_number": "16505553333", "phone_number_id": PHONE_ID});
    let mut value = json!({"messaging_product": "whatsapp", "metadata": metadata, "contacts": [contact]});
    value[what] = json!([item]);
    let entry = json!({"id": "8856996819413533", "changes": [{"value": value, "field": "messages"}]});
    json!({"object": "whatsapp_business_account", "entry": [entry]}).to_string()
}

fn updates() -> Vec<String> {
    let message = |id: &str, kind: &str, content: Value| {
        let mut message = json!({"from": "254711000001", "from_user_id": USER, "id": id, "timestamp": "1602532300", "type": kind});
        message[kind] = content;
        update("messages", &message)
    };
    let image =
        json!({"caption": "the form", "mime_type": "image/jpeg", "sha256": "81d3", "id": "2754859441498128"});
    let reply = json!({"type": "button_reply", "button_reply": {"id": "yes-1", "title": "Yes"}});
    let status = |state: &str| {
        let status = json!({"id": "wamid.9", "status": state, "timestamp": "1602532300", "recipient_id": "254711000001"});
        update("statuses", &status)
    };
    vec![
        message("wamid.1", "text", json!({"body": "Habari & asante é 🙏"})),
        message("wamid.2", "image", image),
        message("wamid.3", "interactive", reply),
        status("sent"),
        status("delivered"),
        status("read"),
    ]
}

fn signature(body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

async fn library(base: &str, updates: &[(String, String)], messages: Value) -> Value {
    let updates: Vec<_> =
        updates.iter().map(|(body, signature)| json!({"body": body, "signature": signature})).collect();
    let job = json!({"base": format!("{base}/v25.0"), "phone_id": PHONE_ID, "token": TOKEN, "app_secret": SECRET,
        "updates": updates, "messages": messages});
    python::ask("pywa/library.py", &job).await
}

#[tokio::test]
async fn postern_takes_and_reads_updates_as_the_library_does() {
    let vhost = Rabbit::shared().vhost();
    let config = vhost.config(&config("http://127.0.0.1:9"));
    let (ingress, tap) = tokio::join!(async { Launch::ingress(&config).start().await }, vhost.tap());
    let mut signed: Vec<_> = updates().into_iter().map(|body| (body.clone(), signature(&body))).collect();
    // One letter of the body, or of the signature, is changed.
    let (body, right) = signed[0].clone();
    signed.push((body.replace("Habari", "Hubari"), right.clone()));
    signed.push((body, right.replace(char::from(right.as_bytes()[20]), "x")));
    let read = library("http://127.0.0.1:9", &signed, json!([])).await;
    for ((body, signature), theirs) in signed.iter().zip(read["updates"].as_array().unwrap()) {
        let request =
            ingress.request(Method::POST, "/backends/whatsapp").header("X-Hub-Signature-256", signature);
        let request = request.header("Content-Type", "application/json").body(body.clone());
        let taken = ingress.fetch(request).await.status == 200;
        assert_eq!(taken, theirs["taken"] == true, "{body} {signature}");
        for message in theirs["messages"].as_array().unwrap() {
            let ours = tap.take("postern.inbound").await.json();
            for name in ["identity", "text", "external_id"] {
                assert_eq!(ours[name], message[name], "{name} of {body}");
            }
            let at: jiff::Timestamp = ours["received_at"].as_str().unwrap().parse().unwrap();
            assert_eq!(json!(at.as_second()), message["at"]);
        }
        for status in theirs["statuses"].as_array().unwrap() {
            let ours = tap.take("postern.reports").await.json();
            let state = if status["status"] == "sent" { "sent" } else { "delivered" };
            let wanted = json!([{"identity": status["identity"], "state": state, "external_id": status["external_id"]}]);
            assert_eq!(ours["recipients"], wanted);
        }
    }
    let seen = |what: &str| {
        read["updates"].as_array().unwrap().iter().map(|it| it[what].as_array().unwrap().len()).sum::<usize>()
    };
    assert_eq!((seen("messages"), seen("statuses")), (3, 3));
    tap.depth_becomes("postern.inbound", 0).await;
    ingress.ends_silent(&["Habari", "254711000001", "hush"]).await;
}

/// The request line, the headers that matter, and the body. pywa also sends the default for previews, which is
/// left out.
fn essence(request: &Request) -> (String, String, String, Value) {
    let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
    let mut body = request.json();
    if body["text"]["preview_url"] == false {
        body["text"].as_object_mut().unwrap().remove("preview_url");
    }
    let line = format!("{} {}", request.method, request.path);
    (line, header("authorization"), header("content-type"), body)
}

#[tokio::test]
async fn postern_and_the_library_send_the_same_request() {
    let whatsapp = Provider::start().await;
    let answer = json!({"messaging_product": "whatsapp", "contacts": [{"input": "254711000001", "wa_id": "254711000001"}],
        "messages": [{"id": "wamid.9"}]});
    whatsapp.otherwise(move |_| Answer::json(200, &answer));
    let pair = Pair::start(&config(&whatsapp.url(""))).await;
    for (to, context, more) in [
        ("254711000001", json!({}), json!({})),
        ("254711000001", json!({"answers": "wamid.1"}), json!({"reply_to_message_id": "wamid.1"})),
        ("254711000001", json!({"preview_url": true}), json!({"preview_url": true})),
        (USER, json!({}), json!({})),
    ] {
        let text = "Habari & asante é 🙏\nhttps://example.org";
        let outbound = json!({"backend": "whatsapp", "identities": [to], "text": text, "context": context});
        pair.tap.send(&outbound).await;
        let ours = whatsapp.take().await;
        let report = pair.tap.take("postern.reports").await.json();
        let mut message = json!({"to": to, "text": text});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let sent = library(&whatsapp.url(""), &[], json!([message])).await;
        assert_eq!(essence(&ours), essence(&whatsapp.take().await));
        assert_eq!(report["recipients"][0]["external_id"], sent["sent"][0]);
    }
    pair.dispatcher.ends_silent(&["Habari", "254711000001", "hush"]).await;
}
