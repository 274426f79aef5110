//! Messages that wait for a backend that was renamed or removed: they are listed, moved and purged.

use crate::commands::{command, readyz_says, told};
use postern_tests::{Launch, Program, Provider, Rabbit, eventually, fetch, http_client};
use serde_json::{Value, json};

/// The backend `name`, which sends to `provider`.
fn backend(name: &str, provider: &Provider) -> String {
    format!(
        "[backends.{name}]\ntype = \"http\"\n[backends.{name}.send]\nurl = \"{}\"\n\
         json = {{ id = \"{{{{ id }}}}\", to = \"{{{{ identity }}}}\" }}\n",
        provider.url(&format!("/{name}"))
    )
}

async fn listed(program: &Program) -> Vec<Value> {
    let url = format!("http://127.0.0.1:{}/v1/queues", program.admin_port());
    let list: Value = fetch(http_client().get(url)).await.unwrap().json();
    list["queues"].as_array().unwrap().clone()
}

fn queue<'a>(list: &'a [Value], name: &str) -> &'a Value {
    list.iter().find(|queue| queue["name"] == name).unwrap_or_else(|| panic!("{name} is not in {list:?}"))
}

async fn post(gateway: &Program, backend: &str, to: &str, priority: &str) {
    let body = json!({"backend": backend, "to": to, "text": "hi", "priority": priority});
    assert_eq!(gateway.post_json("/v1/messages", &body).await.status, 202);
}

/// Forty messages wait for `clinic`, which is renamed to `klinik`. `with` completes a configuration.
async fn a_renamed_backend(with: impl Fn(&str) -> String) {
    let provider = Provider::obliging().await;
    let launch = Launch::gateway().config(&with(&backend("clinic", &provider)));
    let gateway = launch.start_connected().await;
    assert_eq!(command(&gateway, "/v1/backends/clinic/pause", &json!({})).await.0, 200);
    for n in 0..40 {
        post(&gateway, "clinic", &format!("+{n}"), if n < 10 { "bulk" } else { "normal" }).await;
    }
    assert_eq!(gateway.terminate().await.code, Some(0));

    let launch = launch.config(&with(&backend("klinik", &provider)));
    let gateway = launch.start_connected().await;
    let says = "40 messages wait for clinic, which is not configured";
    readyz_says(&gateway, says).await;
    gateway.log().wait_for(says).await;
    gateway.metric_becomes("postern_unconfigured_messages", &[("backend", "clinic")], 40.0).await;
    let list = listed(&gateway).await;
    for (name, messages, configured) in [
        ("postern.outbound.clinic", 30, false),
        ("postern.outbound.clinic.bulk", 10, false),
        ("postern.outbound.klinik", 0, true),
        ("postern.dead", 0, true),
    ] {
        let queue = queue(&list, name);
        assert_eq!(
            (&queue["messages"], &queue["configured"]),
            (&json!(messages), &json!(configured)),
            "{queue}"
        );
    }
    // It subscribes once it is connected, which may take a moment on a busy machine.
    eventually("klinik's queue to have a consumer", async || {
        let list = listed(&gateway).await;
        let consumers = queue(&list, "postern.outbound.klinik")["consumers"].as_u64().unwrap();
        if consumers > 0 { Ok(()) } else { Err(format!("{list:?}")) }
    })
    .await;

    let url = "/v1/queues/clinic/move";
    for (body, status, says) in
        [(json!({"to": "elsewhere"}), 404, "configured: klinik"), (json!({}), 400, "to")]
    {
        let (got, problem) = command(&gateway, url, &body).await;
        assert_eq!(got, status, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
    assert_eq!(command(&gateway, "/v1/queues/nobody/move", &json!({"to": "klinik"})).await.0, 404);
    let (status, done) = command(&gateway, url, &json!({"to": "klinik", "dry_run": true})).await;
    assert_eq!((status, &done["messages"], &done["waiting"]), (200, &json!(40), &json!(40)), "{done}");
    assert_eq!(done["leaves_pause"], true, "they waited for an operator, and will be sent: {done}");
    assert_eq!(provider.requests().len(), 0);

    let (status, done) = command(&gateway, url, &json!({"to": "klinik", "by": "ops"})).await;
    assert_eq!((status, &done["messages"], &done["stay"]), (200, &json!(40), &json!([])), "{done}");
    let sent = provider.wait_for(40).await;
    assert!(sent.iter().all(|request| request.path == "/klinik"), "{sent:?}");
    let mut to: Vec<_> = sent.iter().map(|request| request.json()["to"].to_string()).collect();
    to.sort();
    to.dedup();
    assert_eq!(to.len(), 40, "each once");
    gateway.log().wait_for("messages moved by an operator").await;
    gateway.metric_becomes("postern_unconfigured_messages", &[("backend", "clinic")], 0.0).await;

    // The pause is still there, and can be ended.
    readyz_says(&gateway, "backend clinic is paused by an operator").await;
    let (status, done) = command(&gateway, "/v1/backends/clinic/resume", &json!({})).await;
    assert_eq!((status, &done["paused"], &done["queued"]), (200, &json!(false), &json!(0)), "{done}");
    assert!(!gateway.ready().await.unwrap().text.contains("clinic is paused"));
    assert_eq!(command(&gateway, "/v1/backends/clinic/resume", &json!({})).await.0, 404);
    assert_eq!(gateway.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_renamed_backends_messages_are_seen_and_moved_rabbitmq() {
    let vhost = Rabbit::shared().vhost();
    a_renamed_backend(|config| vhost.config(config)).await;
}

#[tokio::test]
async fn a_renamed_backends_messages_are_seen_and_moved_embedded() {
    a_renamed_backend(str::to_owned).await;
}

/// From the command line while nothing else runs, and then over the admin port.
async fn moved_and_purged(with: impl Fn(&str) -> String) {
    let provider = Provider::obliging().await;
    let both = backend("clinic", &provider) + &backend("other", &provider);
    let launch = Launch::gateway().config(&with(&both));
    let gateway = launch.start_connected().await;
    for name in ["clinic", "other"] {
        assert_eq!(command(&gateway, &format!("/v1/backends/{name}/pause"), &json!({})).await.0, 200);
        post(&gateway, name, "+1", "normal").await;
        post(&gateway, name, "+2", "bulk").await;
    }
    assert_eq!(gateway.terminate().await.code, Some(0));

    let launch = launch.config(&with(&backend("other", &provider)));
    assert_eq!(told(&launch, &["queue", "purge", "clinic", "--dry-run"]).await["messages"], 2);
    // Confirmation is asked for only on a terminal.
    assert_eq!(told(&launch, &["queue", "purge", "postern.outbound.clinic.bulk"]).await["messages"], 1);
    let would = told(&launch, &["queue", "move", "clinic", "other", "--dry-run"]).await;
    assert_eq!((&would["messages"], &would["dry_run"]), (&json!(1), &json!(true)), "{would}");
    let done = told(&launch, &["queue", "move", "clinic", "other"]).await;
    assert_eq!((&done["messages"], &done["to"]), (&json!(1), &json!("other")), "{done}");
    assert_eq!(told(&launch, &["queue", "purge", "clinic", "--yes"]).await["messages"], 0);
    let list = told(&launch, &["queue", "list"]).await;
    let list = list["queues"].as_array().unwrap();
    for (name, messages) in [("postern.outbound.clinic", 0), ("postern.outbound.other", 2)] {
        assert_eq!(queue(list, name)["messages"], messages, "{list:?}");
    }
    let table = launch.clone().arg("queue").arg("list").run().await;
    let line = table.out.lines().find(|line| line.starts_with("postern.outbound.clinic ")).unwrap();
    assert!(line.ends_with("not configured"), "{}", table.out);
    for name in ["postern.control", "postern.health", "nothing such", "postern.wait.1000ms"] {
        let refused = launch.clone().arg("queue").arg("purge").arg(name).arg("--yes").run().await;
        assert_eq!(refused.code, Some(2), "{name}: {}", refused.log);
    }

    let gateway = launch.start_connected().await;
    let url = "/v1/queues/other/purge";
    let (status, would) = command(&gateway, url, &json!({"dry_run": true})).await;
    assert_eq!((status, &would["messages"]), (200, &json!(3)), "{would}");
    let (status, done) = command(&gateway, url, &json!({"by": "the console"})).await;
    assert_eq!((status, &done["messages"], &done["dry_run"]), (200, &json!(3), &json!(false)), "{done}");
    let line = gateway.log().wait_for("the console (from 127.0.0.1)").await;
    assert!(line.contains("messages purged by an operator") && line.contains("\"messages\":3"), "{line}");
    assert_eq!(command(&gateway, "/v1/queues/postern.control/purge", &json!({})).await.0, 400);
    assert_eq!(provider.requests().len(), 0);
    assert_eq!(gateway.terminate().await.code, Some(0));
}

#[tokio::test]
async fn what_waits_is_moved_and_purged_by_name_rabbitmq() {
    let vhost = Rabbit::shared().vhost();
    moved_and_purged(|config| vhost.config(config)).await;
}

#[tokio::test]
async fn what_waits_is_moved_and_purged_by_name_embedded() {
    moved_and_purged(str::to_owned).await;
}
