//! Operators' commands: backends are paused and resumed and messages cancelled, in every process and across
//! restarts.

use postern_tests::{Answer, Launch, Pair, Program, Provider, Rabbit, Tap, Vhost, eventually, fetch};
use reqwest::Method;
use serde_json::{Value, json};

/// A configuration with one backend, which sends to `provider`.
fn clinic(provider: &Provider) -> String {
    format!(
        "[retry]\ndelays = [\"1s\", \"1s\"]\n[backends.clinic]\ntype = \"http\"\n[backends.clinic.send]\nurl = \"{}\"\n\
         json = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n",
        provider.url("/clinic")
    )
}

/// Runs `postern` with `arguments` and `--json`, and returns its output.
pub(crate) async fn told(launch: &Launch, arguments: &[&str]) -> Value {
    let launch = arguments.iter().fold(launch.clone(), |launch, argument| launch.arg(argument));
    let ended = launch.arg("--json").arg("--by").arg("ops").run().await;
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.log);
    serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e} in {}", ended.out))
}

async fn post(ingress: &Program, to: &str, priority: &str) {
    let body = json!({"backend": "clinic", "to": to, "text": "hi", "priority": priority});
    let reply = ingress.post_json("/v1/messages", &body).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
}

async fn backend(ingress: &Program) -> Value {
    ingress.get("/v1/backends").await.json()["backends"][0].clone()
}

/// Waits, because even a ready process shows "unserved" until its consumers are seen.
async fn is_ready(ingress: &Program) {
    eventually("the backend to be ready", async || match backend(ingress).await {
        shown if shown["state"] == "ready" => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
}

pub(crate) async fn readyz_says(program: &Program, line: &str) {
    eventually(line, async || {
        let ready = program.ready().await.map_err(|error| error.to_string())?;
        if ready.status == 200 && ready.text.contains(line) { Ok(()) } else { Err(ready.text) }
    })
    .await;
}

/// Sends a command to the admin port of `program`.
pub(crate) async fn command(program: &Program, path: &str, body: &Value) -> (u16, Value) {
    let url = format!("http://127.0.0.1:{}{path}", program.admin_port());
    let reply = fetch(postern_tests::http_client().request(Method::POST, url).json(body)).await.unwrap();
    (reply.status, serde_json::from_str(&reply.text).unwrap_or_default())
}

fn sent_to(provider: &Provider) -> Vec<String> {
    let mut sent: Vec<_> =
        provider.requests().iter().map(|request| request.json()["to"].as_str().unwrap().to_owned()).collect();
    sent.sort();
    sent
}

const PAUSED: &str = "backend clinic is paused by an operator (since ";

#[tokio::test]
async fn a_pause_holds_for_all_processes_and_across_restarts() {
    let provider = Provider::obliging().await;
    let pair = Pair::start(&clinic(&provider)).await;
    let config = pair.vhost.config(&clinic(&provider));
    let cli = Launch::gateway().config(&config);
    post(&pair.ingress, "+1", "normal").await;
    provider.wait_for(1).await;

    let would = told(&cli, &["pause", "clinic", "--dry-run"]).await;
    assert_eq!(
        (&would["paused"], &would["changed"], &would["dry_run"]),
        (&json!(true), &json!(true), &json!(true))
    );
    let done = told(&cli, &["pause", "clinic"]).await;
    assert_eq!((&done["paused"], &done["consumers"]), (&json!(true), &json!(0)), "{done}");
    assert_eq!(done["changed"], true, "{done}");
    assert_eq!(told(&cli, &["pause", "clinic"]).await["changed"], false, "it was paused");
    assert!(done["by"].as_str().unwrap().starts_with("ops@"), "{done}");
    for program in [&pair.ingress, &pair.dispatcher] {
        readyz_says(program, PAUSED).await;
        program.metric_becomes("postern_backend_paused", &[("backend", "clinic")], 1.0).await;
        program.log().wait_for("paused by an operator").await;
    }
    post(&pair.ingress, "+2", "normal").await;
    post(&pair.ingress, "+3", "bulk").await;
    let shown = backend(&pair.ingress).await;
    assert_eq!((&shown["state"], &shown["queued"]), (&json!("paused"), &json!(2)), "{shown}");
    assert!(shown["reason"].as_str().unwrap().contains("by ops@"), "{shown}");

    assert_eq!(pair.dispatcher.terminate().await.code, Some(0));
    let dispatcher = Launch::dispatcher(&config).start().await;
    readyz_says(&dispatcher, PAUSED).await;
    dispatcher.log().wait_for("paused by an operator").await;
    pair.tap.depth_becomes("postern.outbound.clinic", 1).await;
    assert_eq!(provider.requests().len(), 1);

    let (status, would) = command(&dispatcher, "/v1/backends/clinic/resume", &json!({"dry_run": true})).await;
    assert_eq!((status, &would["changed"], &would["queued"]), (200, &json!(true), &json!(2)), "{would}");
    readyz_says(&dispatcher, PAUSED).await;
    let (status, done) =
        command(&dispatcher, "/v1/backends/clinic/resume", &json!({"by": "the console"})).await;
    assert_eq!((status, &done["paused"], &done["changed"]), (200, &json!(false), &json!(true)), "{done}");
    provider.wait_for(3).await;
    assert_eq!(sent_to(&provider), ["+1", "+2", "+3"]);
    pair.ingress.log().wait_for("resumed by an operator").await;
    pair.ingress.metric_becomes("postern_backend_paused", &[("backend", "clinic")], 0.0).await;
    is_ready(&pair.ingress).await;
    let idle = cli.arg("resume").arg("clinic").run().await;
    assert_eq!(idle.code, Some(0), "{}", idle.log);
    assert!(idle.out.starts_with("clinic was not paused, nothing changed"), "{}", idle.out);
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_and_says_why() {
    let provider = Provider::obliging().await;
    let gateway = Launch::gateway().config(&clinic(&provider)).start().await;
    for (path, body, status, says) in [
        ("/v1/backends/klinik/pause", json!({}), 404, "configured: clinic"),
        ("/v1/backends/clinic/pause", json!({"buy": "me"}), 400, "buy"),
        ("/v1/backends/clinic/pause", json!([]), 400, "must be a table"),
        ("/v1/backends/clinic/cancel", json!({"since": "2999-01-01T00:00:00Z"}), 400, "since"),
        ("/v1/backends/clinic/cancel", json!({"priority": "urgent"}), 400, "priority"),
        ("/v1/backends/clinic/cancel", json!({"since": "soon"}), 400, "since: must be a time such as 2026-"),
    ] {
        let (got, problem) = command(&gateway, path, &body).await;
        assert_eq!(got, status, "{path} {body}: {problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{path} {body}: {problem}");
    }
    // A web page in the operator's browser must not give commands.
    let url = format!("http://127.0.0.1:{}/v1/backends/clinic/pause", gateway.admin_port());
    let request = postern_tests::http_client().post(url).header("Origin", "https://example.org");
    assert_eq!(fetch(request).await.unwrap().status, 403);
    is_ready(&gateway).await;
    // No command accepts a user in the URL, since it would not be sent.
    for command in [&["pause", "clinic"][..], &["dead", "list"]] {
        let launch = Launch::gateway().arg("--config").arg("/dev/null");
        let launch = command.iter().fold(launch, |launch, argument| launch.arg(argument));
        let ended = launch.arg("--admin").arg("http://u:hush@127.0.0.1:9").run().await;
        assert_eq!(ended.code, Some(2), "{command:?}: {}", ended.log);
        assert!(ended.log.contains("--admin: must not contain a user name or password"), "{}", ended.log);
        assert!(!ended.log.contains("hush"), "{}", ended.log);
    }
}

/// The embedded gateway: while it runs, commands use its admin port; otherwise they open the store.
#[tokio::test]
async fn an_embedded_gateway_is_paused_and_a_campaign_cancelled_running_or_not() {
    let provider = Provider::obliging().await;
    let launch = Launch::gateway().config(&clinic(&provider));
    let gateway = launch.start().await;
    let admin = format!("http://127.0.0.1:{}", gateway.admin_port());
    let done = told(&launch, &["pause", "clinic", "--admin", &admin]).await;
    assert!(done["by"].as_str().unwrap().ends_with("(from 127.0.0.1)"), "{done}");
    for to in ["+1", "+2"] {
        post(&gateway, to, "bulk").await;
    }
    post(&gateway, "+3", "normal").await;
    assert_eq!(gateway.terminate().await.code, Some(0));

    // The gateway has ended, so the command opens the store itself.
    let done = told(&launch, &["cancel", "--backend", "clinic", "--priority", "bulk", "--dry-run"]).await;
    assert_eq!((&done["messages"], &done["waiting"]), (&json!(2), &json!(2)), "{done}");
    let done = told(&launch, &["cancel", "--backend", "clinic", "--priority", "bulk"]).await;
    assert_eq!((&done["messages"], &done["recipients"]), (&json!(2), &json!(2)), "{done}");
    assert_eq!(told(&launch, &["resume", "clinic"]).await["queued"], 1);

    let gateway = launch.start().await;
    post(&gateway, "+4", "bulk").await;
    provider.wait_for(2).await;
    assert_eq!(sent_to(&provider), ["+3", "+4"], "what is sent later is not touched");
    assert_eq!(gateway.terminate().await.code, Some(0));
}

/// Takes reports until `count` recipients are cancelled, and returns them.
async fn cancelled(tap: &Tap, count: usize) -> Vec<String> {
    let mut cancelled = Vec::new();
    while cancelled.len() < count {
        let report = tap.take("postern.reports").await.json();
        for recipient in report["recipients"].as_array().unwrap() {
            if recipient["reason"]["code"] == "cancelled" {
                assert_eq!(
                    (&recipient["state"], &recipient["reason"]["class"]),
                    (&json!("failed"), &json!("permanent"))
                );
                cancelled.push(recipient["identity"].as_str().unwrap().to_owned());
            }
        }
    }
    cancelled.sort();
    cancelled
}

/// A campaign of which one message waits, one has failed and waits for its retry, and one has no date. All of it
/// is reported and none of it is sent; a message that is sent later is.
#[tokio::test]
async fn a_cancelled_campaign_is_reported_and_never_sent() {
    let provider = Provider::start().await;
    provider.otherwise(|_| Answer::status(503));
    let vhost: Vhost = Rabbit::shared().vhost();
    let config = vhost.config(&clinic(&provider).replace("\"1s\", \"1s\"", "\"12s\", \"12s\""));
    let (ingress, dispatcher) = Pair::services(&config).await;
    let (tap, cli) = (vhost.tap().await, Launch::gateway().config(&config));
    post(&ingress, "+retried", "normal").await;
    provider.wait_for(1).await;
    let retries = [("backend", "clinic"), ("class", "transient")];
    dispatcher.metric_becomes("postern_retries_total", &retries, 1.0).await;
    let shown = backend(&ingress).await;
    assert_eq!((&shown["queued"], &shown["retrying"]), (&json!(0), &json!(1)), "{shown}");

    told(&cli, &["pause", "clinic"]).await;
    post(&ingress, "+waits", "bulk").await;
    tap.send(&json!({"backend": "clinic", "identities": ["+undated"], "text": "hi"})).await;
    tap.depth_becomes("postern.outbound.clinic", 1).await;
    let done = told(&cli, &["cancel", "--backend", "clinic", "--dry-run"]).await;
    assert_eq!((&done["messages"], &done["dry_run"]), (&json!(2), &json!(true)), "{done}");
    assert_eq!(done["retrying"], 1, "{done}");
    let done = told(&cli, &["cancel", "--backend", "clinic"]).await;
    assert_eq!((&done["messages"], &done["recipients"]), (&json!(2), &json!(2)), "{done}");
    dispatcher.log().wait_for("messages cancelled by an operator").await;
    // At once, although the backend is paused.
    assert_eq!(cancelled(&tap, 2).await, ["+undated", "+waits"]);

    provider.otherwise(|_| Answer::ok(""));
    post(&ingress, "+later", "normal").await;
    told(&cli, &["resume", "clinic"]).await;
    assert_eq!(cancelled(&tap, 1).await, ["+retried"]);
    provider.wait_for(2).await;
    assert_eq!(sent_to(&provider), ["+later", "+retried"], "the retried one was tried once, before");
    let outcome = [("backend", "clinic"), ("outcome", "cancelled")];
    dispatcher.metric_becomes("postern_dispatch_recipients_total", &outcome, 1.0).await;
    assert_eq!(tap.depth("postern.dead").await, Ok(0), "nobody is to send them again");
}
