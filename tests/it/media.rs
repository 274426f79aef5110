//! Media, such as pictures: received from people, and sent by an application.

use crate::reports::{outcome, states};
use postern_tests::{Answer, Launch, Pair, Provider};
use serde_json::{Value, json};

#[tokio::test]
async fn what_came_with_a_message_is_on_the_queue_in_the_webhooks_form_and_in_the_log() {
    let application = Provider::obliging().await;
    let config = format!(
        "[backends.x]\ntype = \"console\"\n[backends.x.receive]\nparams = {{ identity = \"/from\", text = \"/text\" }}\n\
         media = [{{ each = \"/files\", url = \"/at\", type = \"/kind\" }}, {{ id = \"/voice\" }}]\n\
         [application]\ntype = \"webhook\"\nurl = \"{}\"\nformat = \"form\"\n",
        application.url("/in")
    );
    let postern = Launch::gateway().config(&config).start().await;
    let body = json!({"from": "+15551234567", "text": "two", "voice": 7, "files": [
        {"at": "https://h.example/1.jpg", "kind": "image/jpeg"}, {"kind": "none"}, {"at": "https://h.example/2"},
    ]});
    assert_eq!(postern.post_json("/backends/x", &body).await.status, 200);
    let asked = application.take().await.form();
    let media: Vec<Value> = asked
        .iter()
        .filter(|(name, _)| name == "media")
        .map(|(_, value)| serde_json::from_str(value).unwrap())
        .collect();
    let all = json!([
        {"url": "https://h.example/1.jpg", "type": "image/jpeg"}, {"url": "https://h.example/2"}, {"id": "7"},
    ]);
    assert_eq!(Value::from(media), all);
    let logged = postern.get("/v1/messages?direction=inbound").await.json();
    assert_eq!(logged["messages"][0]["fields"]["media"], all);
    postern.terminate().await;
}

#[tokio::test]
async fn what_goes_with_a_message_stands_in_its_request_or_in_its_text_or_keeps_it_back() {
    let provider = Provider::start().await;
    let backend = |name: &str, media: &str, more: &str| {
        format!(
            "[backends.{name}]\ntype = \"http\"\ntext = {{ media = \"{media}\"{more} }}\n[backends.{name}.send]\n\
             url = \"{}\"\nform = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\", media = \"{{{{ media }}}}\" }}\n",
            provider.url(&format!("/{name}"))
        )
    };
    let config = "[retry]\ndelays = [\"100ms\"]\n".to_owned()
        + &backend("takes", "send", ", limit = { characters = 4 }")
        + &backend("links", "append", "")
        + &backend("refuses", "refuse", "");
    let pair = Pair::start(&config).await;
    let urls = json!(["https://h.example/1", {"url": "https://h.example/2", "type": "image/png"}]);
    let message = |backend: &str, text: &str, media: &Value| json!({"backend": backend, "identities": ["+15551234567"], "text": text, "context": {"media": media}});
    let fields = |form: Vec<(String, String)>| -> Vec<String> {
        form.into_iter().skip(1).map(|(name, value)| format!("{name}={value}")).collect()
    };

    // The media go with the first part only, even if the second part is retried.
    provider.script([Answer::ok(""), Answer::status(503), Answer::ok("")]);
    pair.tap.send(&message("takes", "one two", &urls)).await;
    let both = ["media=https://h.example/1", "media=https://h.example/2"];
    assert_eq!(fields(provider.take().await.form()), ["text=one ", both[0], both[1]]);
    assert_eq!(fields(provider.take().await.form()), ["text=two"]);
    assert_eq!(states(&outcome(&pair.tap).await), [("+15551234567", "retrying")]);
    assert_eq!(fields(provider.take().await.form()), ["text=two"]);
    assert_eq!(states(&outcome(&pair.tap).await), [("+15551234567", "sent")]);

    provider.script([Answer::ok("")]);
    pair.tap.send(&message("links", "two pictures", &urls)).await;
    let appended = "text=two pictures\nhttps://h.example/1\nhttps://h.example/2";
    assert_eq!(fields(provider.take().await.form()), [appended]);
    assert_eq!(states(&outcome(&pair.tap).await), [("+15551234567", "sent")]);

    for (backend, media, code) in
        [("refuses", &urls, "media_refused"), ("links", &json!("file:///etc/passwd"), "invalid_media")]
    {
        pair.tap.send(&message(backend, "hi there", media)).await;
        let report = outcome(&pair.tap).await;
        assert_eq!(report["recipients"][0]["reason"]["code"], code);
        let reply = pair.ingress.post_json("/v1/messages", &message(backend, "hi there", media)).await;
        assert_eq!(reply.status, 422, "{}", reply.text);
        assert!(reply.text.contains("context"), "{}", reply.text);
    }
    assert!(provider.requests().is_empty());
    pair.ends_silent(&["+15551234567", "two pictures", "h.example"]).await;
}
