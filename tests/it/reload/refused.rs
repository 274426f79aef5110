//! Reloads that change nothing, and the reason that they give.

use super::{backend, reload, reloaded, send};
use crate::commands::command;
use postern_tests::{Answer, Gate, Launch, Provider, eventually};
use serde_json::json;

#[tokio::test]
async fn a_mistake_changes_nothing_and_every_one_is_said() {
    let provider = Provider::obliging().await;
    let config = backend("clinic", &provider, "/clinic");
    let launch = Launch::gateway().config(&config);
    let gateway = launch.start().await;
    let outcome = |outcome| [("outcome", outcome)];
    let mistaken =
        format!("[ingress]\nmax_boddy = 5\n{config}retry = 7\n[backends.new]\ntype = \"pigeon\"\n");
    let (status, refusal) = reload(&launch, &gateway, &mistaken).await;
    assert_eq!(status, 422, "{refusal}");
    let problems = refusal["problems"].as_array().unwrap();
    let at: Vec<_> =
        problems.iter().map(|problem| (problem["line"].as_u64(), problem["key"].as_str().unwrap())).collect();
    assert!(at.contains(&(Some(2), "ingress.max_boddy")), "{refusal}");
    assert!(at.iter().any(|(_, key)| key.starts_with("backends.clinic.send.retry")), "{refusal}");
    assert!(at.iter().any(|(_, key)| *key == "backends.new.type"), "{refusal}");
    let line = gateway.log().wait_for("configuration not reloaded: ingress.max_boddy: unknown key").await;
    assert!(line.contains("\"key\":\"ingress.max_boddy\"") && line.contains("\"line\":2"), "{line}");
    gateway.metric_becomes("postern_config_reloads_total", &outcome("invalid"), 1.0).await;
    gateway.metric_becomes("postern_config_last_reload_successful", &[], 0.0).await;
    assert_eq!(
        [send(&gateway, "clinic", "+15550000001").await, send(&gateway, "new", "+1").await],
        [202, 404]
    );

    // Connectors and forms are checked, too, not only the configuration itself.
    let (status, refusal) = reload(&launch, &gateway, &config.replace("http://", "ftp://")).await;
    assert_eq!(
        (status, refusal["problems"][0]["key"].as_str()),
        (422, Some("backends.clinic.send.url")),
        "{refusal}"
    );

    let restart = format!(
        "[broker]\nurl = \"embedded:elsewhere\"\n[log]\nlevel = \"debug\"\n{config}[backends.new]\ntype = \"console\"\n"
    );
    let (status, refusal) = reload(&launch, &gateway, &restart).await;
    assert_eq!((status, &refusal["needs_restart"]), (409, &json!(["broker.url", "log.level"])), "{refusal}");
    assert_eq!(send(&gateway, "new", "+1").await, 404);
    gateway.metric_becomes("postern_config_reloads_total", &outcome("restart_needed"), 1.0).await;

    let nothing = reloaded(&launch, &gateway, &format!("# as before\n{config}")).await;
    assert_eq!(nothing, [vec![], vec![], Vec::<String>::new()]);
    gateway.metric_becomes("postern_config_reloads_total", &outcome("unchanged"), 1.0).await;
    gateway.metric_becomes("postern_config_last_reload_successful", &[], 1.0).await;
    provider.wait_for(1).await;
    gateway.ends_silent(&["+1555000"]).await;
}

#[tokio::test]
async fn a_reload_during_the_drain_is_refused() {
    let provider = Provider::start().await;
    let gate = Gate::closed();
    provider.script([Answer::ok("OK").held(&gate)]);
    let config = backend("clinic", &provider, "/clinic");
    let launch = Launch::gateway().config(&config);
    let gateway = launch.start().await;
    assert_eq!(send(&gateway, "clinic", "+15550000001").await, 202);
    provider.wait_for(1).await;
    gateway.signal("TERM");
    eventually("it drains", async || match gateway.ready().await {
        Ok(reply) if reply.status == 503 => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await;
    let (status, refusal) = command(&gateway, "/v1/reload", &json!({})).await;
    assert_eq!(status, 503, "{refusal}");
    assert!(refusal["detail"].as_str().unwrap().contains("draining"), "{refusal}");
    gate.open();
    assert_eq!(gateway.wait().await.code, Some(0));
}
