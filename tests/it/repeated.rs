//! Messages that an application repeats with their `Idempotency-Key`, at another process than the first time.

use crate::store::told;
use postern_tests::{Answer, Launch, Postgres, Program, Provider, Rabbit, Reply, eventually};
use reqwest::Method;
use serde_json::{Value, json};

const KEY: &str = "a-key-for-the-clinics-application";
const NUMBERS: [&str; 3] = ["+15550003331", "+15550003332", "+15550003333"];

fn config(provider: &Provider) -> String {
    format!(
        "[[api.keys]]\nname = \"clinic-app\"\nkey = \"{KEY}\"\nbackends = [\"*\"]\nmay = [\"send\", \"read\"]\n\
         [backends.clinic]\ntype = \"http\"\n[backends.clinic.send]\nurl = \"{}\"\nbatch = 2\n\
         form = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n",
        provider.url("/send"),
    )
}

fn message(text: &str) -> Value {
    json!({"backend": "clinic", "identities": NUMBERS, "text": text})
}

async fn send(program: &Program, key: &str, message: &Value) -> Reply {
    let request = program.request(Method::POST, "/v1/messages").bearer_auth(KEY).json(message);
    program.fetch(request.header("Idempotency-Key", key)).await
}

/// Checks that the key was refused because it belongs to another message.
fn is_another(reply: &Reply) {
    assert_eq!((reply.status, &reply.json()["errors"][0]["header"]), (422, &json!("Idempotency-Key")));
}

#[tokio::test]
async fn a_key_is_known_after_a_power_cut() {
    let provider = Provider::start().await;
    provider.otherwise(|_| Answer::ok(""));
    let launch = Launch::gateway().config(&config(&provider));
    let postern = launch.start().await;
    let first = send(&postern, "order-1", &message("a")).await;
    assert_eq!(first.status, 202, "{}", first.text);
    let path = format!("/v1/messages/{}", first.json()["id"].as_str().unwrap());
    eventually("that it is sent", async || {
        let reply = postern.fetch(postern.request(Method::GET, &path).bearer_auth(KEY)).await;
        if reply.text.matches("\"state\":\"sent\"").count() == 3 { Ok(()) } else { Err(reply.text) }
    })
    .await;
    assert_eq!(provider.wait_for(3).await.len(), 3);
    // A kill before that would send it again.
    eventually("that it waits no more", async || {
        let info = told(&launch, &["info"], 0).await;
        let waits = |queue: &Value| queue["name"] == "postern.outbound.clinic" && queue["messages"] != 0;
        if info["queues"].as_array().unwrap().iter().any(waits) { Err(info) } else { Ok(()) }
    })
    .await;
    postern.kill();

    let postern = launch.start().await;
    let again = send(&postern, "order-1", &message("a")).await;
    assert_eq!((again.status, again.text), (202, first.text));
    is_another(&send(&postern, "order-1", &message("b")).await);
    postern.metric_becomes("postern_ingress_duplicates_total", &[("backend", "clinic")], 1.0).await;
    // A second copy of the first message would arrive before this one.
    assert_eq!(send(&postern, "order-2", &message("c")).await.status, 202);
    let requests = provider.wait_for(6).await;
    let texts: Vec<_> = requests.iter().map(|request| request.form()[1].1.clone()).collect();
    assert_eq!(texts, ["a", "a", "a", "c", "c", "c"]);
    postern.ends_silent(&NUMBERS).await;
}

#[tokio::test]
async fn a_key_is_known_to_another_ingress_as_soon_as_the_log_has_it() {
    let provider = Provider::start().await;
    let database = tokio::task::spawn_blocking(|| Postgres::shared().database()).await.unwrap();
    let vhost = Rabbit::shared().vhost();
    let config = vhost.config(&format!("[log]\nurl = \"{database}\"\n{}", config(&provider)));
    let recorder = Launch::dispatcher(&config).arg("--only-log");
    let (one, other) = (Launch::ingress(&config), Launch::ingress(&config));
    let (recorder, one, other) = tokio::join!(recorder.start(), one.start(), other.start());
    let tap = vhost.tap().await;
    let first = send(&one, "order-1", &message("a")).await;
    assert_eq!(first.status, 202, "{}", first.text);
    // Two batches, and the answer to the first request.
    recorder.metric_becomes("postern_log_events_total", &[], 3.0).await;
    for ingress in [&other, &one, &other] {
        let again = send(ingress, "order-1", &message("a")).await;
        assert_eq!((again.status, &again.text), (202, &first.text));
        is_another(&send(ingress, "order-1", &message("b")).await);
    }
    other.metric_becomes("postern_ingress_duplicates_total", &[("backend", "clinic")], 2.0).await;
    assert_eq!(send(&other, "order-2", &message("c")).await.status, 202);
    let queued = tap.take_all("postern.outbound.clinic", 4).await;
    let texts: Vec<_> = queued.iter().map(|message| message.json()["text"].clone()).collect();
    assert_eq!(texts, ["a", "a", "c", "c"]);
    for program in [recorder, one, other] {
        program.ends_silent(&NUMBERS).await;
    }
}
