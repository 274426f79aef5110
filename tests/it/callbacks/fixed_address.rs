//! Callbacks for a provider with a fixed report address: the message log supplies what the address does not
//! contain.

use super::told;
use crate::compat::{NUMBER, PASSWORD, both, is_accepted, kannel, sendsms, value};
use postern_tests::{Answer, Launch, Pair, Program, Provider, eventually, pairs};
use serde_json::json;

const READER: &str = "a-key-of-somebody-who-reads";

/// A configuration with a key that may read the message log.
fn reader() -> String {
    format!("[[api.keys]]\nname = \"reader\"\nkey = \"{READER}\"\nbackends = [\"*\"]\nmay = [\"read\"]\n")
}

/// The provider calls one address for the whole account, with its own id only. A second report, by our id, names
/// no recipient.
async fn calls_back_at_a_fixed_address(
    ingress: &Program,
    dispatcher: &Program,
    provider: &Provider,
    client: &Provider,
) {
    provider.script([Answer::json(200, &json!({"id": "P1"}))]);
    let dlr = client.url("/dlr?pin=own-pin&type=%d&to=%p&id=%I&theirs=%F");
    let message = [("to", NUMBER), ("text", "ping"), ("dlr-mask", "9"), ("dlr-url", &dlr)];
    is_accepted(&sendsms(ingress, &message).await);
    let id = value(&provider.take().await.form(), "id");
    let expected = |event: &str, theirs: &str| {
        pairs(&[("pin", "own-pin"), ("type", event), ("to", NUMBER), ("id", &id), ("theirs", theirs)])
    };
    assert_eq!(client.take().await.query(), expected("8", "P1"));
    let seen = async || {
        let request = ingress.request(reqwest::Method::GET, &format!("/v1/messages/{id}"));
        ingress.fetch(request.bearer_auth(READER)).await
    };
    let has = async |event: &str, count: usize| {
        eventually("the message's history", async || {
            let reply = seen().await;
            let told = reply.text.matches(&format!("\"event\":\"{event}\"")).count();
            if told == count { Ok(reply.text) } else { Err(reply.text) }
        })
        .await
    };
    has("sent", 1).await;
    let fixed = [("external_id", "P1"), ("state", "ok")];
    assert_eq!(ingress.post_form("/backends/x/status", &fixed).await.status, 200);
    assert_eq!(client.take().await.query(), expected("1", "P1"));
    let ours = [("message_id", &*id), ("state", "ok")];
    assert_eq!(ingress.post_form("/backends/x/status", &ours).await.status, 200);
    assert_eq!(client.take().await.query(), expected("1", ""));
    // The client did not ask for this event.
    let not_told = [("external_id", "P1"), ("state", "no")];
    assert_eq!(ingress.post_form("/backends/x/status", &not_told).await.status, 200);
    told(dispatcher, "sent", 3).await;
    let shown = has("called_back", 3).await;
    assert!(!shown.contains("own-pin") && !shown.contains("dlr"), "{shown}");
    // The log line of each report names the message, even if the report was matched by the provider's id.
    for form in [&fixed[..], &ours] {
        let before = ingress.log().lines().len();
        assert_eq!(ingress.post_form("/backends/x/status", form).await.status, 200);
        let line = eventually("its line", async || {
            let lines = ingress.log().lines();
            let line = lines[before..].iter().find(|line| line.contains("\"POST\"")).cloned();
            line.ok_or(lines.len())
        })
        .await;
        assert!(line.contains(&id), "{line}");
        client.take().await;
    }
    assert_eq!(client.requests().len(), 0);
}

#[tokio::test]
async fn a_provider_whose_report_address_is_fixed_has_the_client_called_back() {
    let (provider, client) = (Provider::start().await, Provider::obliging().await);
    let launch = Launch::gateway().config(&(kannel("") + &both(&provider) + &reader()));
    let postern = launch.start().await;
    calls_back_at_a_fixed_address(&postern, &postern, &provider, &client).await;
    // Another process finds it in the log, too. A report that was answered before a kill is called back after
    // it.
    postern.kill();
    let postern = launch.start().await;
    let report = [("external_id", "P1"), ("state", "ok")];
    assert_eq!(postern.post_form("/backends/x/status", &report).await.status, 200);
    postern.kill();
    let postern = launch.start().await;
    assert_eq!(value(&client.take().await.query(), "type"), "1");
    let export = launch.clone().arg("log").arg("export").arg("--events").run().await;
    assert!(export.code == Some(0) && export.out.contains("called_back"), "{} {}", export.out, export.log);
    assert!(!export.out.contains("own-pin"), "{}", export.out);
    postern.ends_silent(&[NUMBER, PASSWORD, "own-pin"]).await;
}

#[tokio::test]
async fn a_fixed_report_address_calls_back_over_rabbitmq_too() {
    let (provider, client) = (Provider::start().await, Provider::obliging().await);
    let folder = tempfile::tempdir().unwrap();
    let log = format!("[log]\nurl = \"sqlite:{}\"\n", folder.path().display());
    let pair = Pair::start(&(kannel("") + &both(&provider) + &reader() + &log)).await;
    calls_back_at_a_fixed_address(&pair.ingress, &pair.dispatcher, &provider, &client).await;
    pair.ends_silent(&[NUMBER, PASSWORD, "own-pin"]).await;
}
