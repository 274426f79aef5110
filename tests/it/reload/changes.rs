//! What a reload changes, and what it leaves unchanged.

use super::{backend, reload, reloaded, send, sent_to};
use crate::commands::{command, told};
use postern_tests::{Answer, Gate, Launch, Pair, Provider, Rabbit, eventually, fetch};
use reqwest::Method;
use serde_json::json;

#[tokio::test]
async fn what_is_in_flight_ends_at_the_old_address_and_the_rest_goes_to_the_new() {
    let provider = Provider::obliging().await;
    let gate = Gate::closed();
    provider.script([Answer::ok("OK").held(&gate)]);
    let both = |path| backend("clinic", &provider, path) + &backend("other", &provider, "/other");
    let launch = Launch::gateway().config(&both("/old"));
    let gateway = launch.start().await;
    assert_eq!(send(&gateway, "clinic", "+15550000001").await, 202);
    provider.wait_for(1).await;

    let [added, changed, removed] = reloaded(&launch, &gateway, &both("/new")).await;
    assert_eq!((added, changed, removed), (vec![], vec!["backends.clinic".to_owned()], vec![]));
    assert_eq!(send(&gateway, "clinic", "+15550000002").await, 202);
    provider.wait_for(2).await;
    assert_eq!(sent_to(&provider, "/new"), ["+15550000002"]);
    gateway.log().wait_for("requests in flight finish with the old settings").await;
    gate.open();
    let sent = [("backend", "clinic"), ("outcome", "sent")];
    gateway.metric_becomes("postern_dispatch_messages_total", &sent, 2.0).await;
    assert_eq!(send(&gateway, "other", "+15550000003").await, 202);
    provider.wait_for(3).await;
    assert_eq!(sent_to(&provider, "/old"), ["+15550000001"]);
    gateway.ends_silent(&["+1555000"]).await;
}

#[tokio::test]
async fn a_removed_backend_keeps_its_messages_until_it_is_back() {
    let provider = Provider::obliging().await;
    let (with, without) = (
        backend("clinic", &provider, "/clinic") + &backend("other", &provider, "/other"),
        backend("other", &provider, "/other"),
    );
    let launch = Launch::gateway().config(&with);
    let gateway = launch.start().await;
    let pause = command(&gateway, "/v1/backends/clinic/pause", &json!({})).await;
    assert_eq!(pause.0, 200);
    for to in ["+15550000001", "+15550000002"] {
        assert_eq!(send(&gateway, "clinic", to).await, 202);
    }
    let (status, done) = reload(&launch, &gateway, &without).await;
    assert_eq!((status, &done["removed"], &done["unchanged"]), (200, &json!(["backends.clinic"]), &json!(1)));
    assert_eq!(done["waiting"], json!({"clinic": 2}), "{done}");
    let line = gateway.log().wait_for("backend removed").await;
    assert!(line.contains("\"backend\":\"clinic\"") && line.contains("\"messages\":2"), "{line}");
    assert_eq!(gateway.get("/backends/clinic?identity=1&text=a").await.status, 404);
    assert_eq!(send(&gateway, "clinic", "+15550000003").await, 404);
    assert!(!gateway.get("/v1/backends").await.text.contains("clinic"));
    eventually("clinic's metrics are gone", async || {
        let metrics = gateway.admin("/metrics").await.unwrap().text;
        let shown = metrics.lines().find(|line| line.starts_with("postern_backend_ready{backend=\"clinic\""));
        shown.map_or(Ok(()), |line| Err(line.to_owned()))
    })
    .await;

    assert_eq!(command(&gateway, "/v1/backends/clinic/resume", &json!({})).await.0, 200);
    let [added, ..] = reloaded(&launch, &gateway, &with).await;
    assert_eq!(added, ["backends.clinic"]);
    provider.wait_for(2).await;
    assert_eq!(gateway.get("/backends/clinic?identity=1&text=a").await.status, 200);
    assert_eq!(send(&gateway, "clinic", "+15550000004").await, 202);
    provider.wait_for(3).await;
    let mut sent = sent_to(&provider, "/clinic");
    sent.sort();
    assert_eq!(sent, ["+15550000001", "+15550000002", "+15550000004"]);
    gateway.ends_silent(&["+1555000"]).await;
}

/// With RabbitMQ, whose queues a reload declares, and both halves in processes of their own.
#[tokio::test]
async fn a_backend_that_is_added_has_its_queues_before_it_is_accepted() {
    let provider = Provider::obliging().await;
    let vhost = Rabbit::shared().vhost();
    let first = vhost.config(&backend("clinic", &provider, "/clinic"));
    let both =
        format!("{first}{}retry = {{ delays = [\"17s\"] }}\n", "[backends.late]\ntype = \"console\"\n");
    let (ingress, dispatcher) = (Launch::ingress(&first), Launch::dispatcher(&first));
    let (receiving, sending) = tokio::join!(ingress.start(), dispatcher.start());
    assert_eq!(send(&receiving, "late", "+15550000001").await, 404);
    let [added, ..] = reloaded(&ingress, &receiving, &both).await;
    assert_eq!(added, ["backends.late"]);
    let names: Vec<_> = vhost.queues().into_iter().map(|queue| queue.name).collect();
    for queue in ["postern.outbound.late", "postern.outbound.late.bulk", "postern.wait.17000ms"] {
        assert!(names.iter().any(|name| name == queue), "{queue} is not in {names:?}");
    }
    assert_eq!(send(&receiving, "late", "+15550000001").await, 202);
    vhost.tap().await.depth_becomes("postern.outbound.late", 1).await;
    reloaded(&dispatcher, &sending, &both).await;
    let sent = [("backend", "late"), ("outcome", "sent")];
    sending.metric_becomes("postern_dispatch_messages_total", &sent, 1.0).await;
    Pair { ingress: receiving, dispatcher: sending, tap: vhost.tap().await, vhost }
        .ends_silent(&["+1555000"])
        .await;
}

#[tokio::test]
async fn keys_and_rates_hold_at_once() {
    let provider = Provider::obliging().await;
    let config = |keys: &[(&str, &str)]| {
        let entry = |(name, more): &(&str, &str)| {
            format!(
                "[[api.keys]]\nname = \"{name}\"\nkey = \"{name}-0123456789abcdef\"\nbackends = [\"*\"]\n{more}\n"
            )
        };
        keys.iter().map(entry).collect::<String>() + &backend("clinic", &provider, "/clinic")
    };
    let launch = Launch::gateway().config(&config(&[("app", ""), ("old", "")]));
    let gateway = launch.start().await;
    let send = async |key: &str| {
        let body = json!({"backend": "clinic", "to": "+15550000001", "text": "hi"});
        let request = gateway.request(Method::POST, "/v1/messages").json(&body);
        fetch(request.bearer_auth(format!("{key}-0123456789abcdef"))).await.unwrap().status
    };
    assert_eq!([send("app").await, send("old").await, send("new").await], [202, 202, 401]);
    let (status, done) = reload(&launch, &gateway, &config(&[("app", "rate = \"1/h\""), ("new", "")])).await;
    assert_eq!(
        (status, &done["added"], &done["changed"], &done["removed"], &done["unchanged"]),
        (200, &json!(["api.keys.new"]), &json!(["api.keys.app"]), &json!(["api.keys.old"]), &json!(1))
    );
    assert_eq!([send("old").await, send("new").await], [401, 202]);
    assert_eq!([send("app").await, send("app").await], [202, 429]);
    // What a key has used of its rate is still counted after a reload.
    reloaded(&launch, &gateway, &config(&[("app", "rate = \"1/h\"")])).await;
    assert_eq!(send("app").await, 429);
    reloaded(&launch, &gateway, &config(&[("app", "")])).await;
    assert_eq!(send("app").await, 202);
    provider.wait_for(5).await;
    gateway.ends_silent(&["0123456789abcdef", "+1555000"]).await;
}

/// The content of a secret's file, a backend's rate, the application.
#[tokio::test]
async fn secrets_rates_and_the_application_are_read_anew() {
    let provider = Provider::obliging().await;
    let config = |rate: &str, application: &str| {
        backend("clinic", &provider, "/clinic")
            + &format!(
                "auth = {{ bearer = {{ file = \"token\" }} }}\n[backends.clinic.rate]\nlimit = \"{rate}\"\n{application}"
            )
    };
    let launch = Launch::gateway().config(&config("50/s", ""));
    launch.folder().write("token", "first-0123456789abcdef");
    let gateway = launch.start().await;
    assert_eq!(send(&gateway, "clinic", "+15550000001").await, 202);
    launch.folder().write("token", "second-0123456789abcdef");
    provider.wait_for(1).await;
    let [_, changed, _] = reloaded(&launch, &gateway, &config("50/s", "")).await;
    assert_eq!(changed, ["backends.clinic"]);
    assert_eq!(send(&gateway, "clinic", "+15550000002").await, 202);
    let shown: Vec<_> =
        provider.wait_for(2).await.iter().map(|r| r.header("authorization").unwrap().to_owned()).collect();
    assert_eq!(shown, ["Bearer first-0123456789abcdef", "Bearer second-0123456789abcdef"]);

    reloaded(&launch, &gateway, &config("5/s", "")).await;
    let clinic = [("backend", "clinic")];
    gateway.metric_becomes("postern_rate_share", &clinic, 5.0).await;

    let hook = format!(
        "[application]\ntype = \"webhook\"\nformat = \"form\"\nurl = \"{}\"\n",
        provider.url("/hook")
    );
    let [added, changed, _] = reloaded(&launch, &gateway, &config("5/s", &hook)).await;
    assert!(
        changed.contains(&"application.type".to_owned()) && added.contains(&"application.url".to_owned())
    );
    assert_eq!(gateway.get("/backends/clinic?identity=%2B15550000003&text=ping").await.status, 200);
    assert_eq!(provider.wait_for(3).await[2].path, "/hook");
    reloaded(&launch, &gateway, &config("5/s", "[application]\ntype = \"echo\"\n")).await;
    assert_eq!(gateway.get("/backends/clinic?identity=%2B15550000004&text=ping").await.status, 200);
    provider.wait_for(4).await;
    assert_eq!(sent_to(&provider, "/clinic").last().unwrap(), "+15550000004");
    gateway.ends_silent(&["0123456789abcdef", "+1555000"]).await;
}

#[tokio::test]
async fn the_command_says_what_would_change_and_then_changes_it() {
    let provider = Provider::obliging().await;
    let launch = Launch::gateway()
        .config(&backend("clinic", &provider, "/clinic"))
        .admin_token("an-admin-token-of-a-test");
    let gateway = launch.start().await;
    let url = format!("http://127.0.0.1:{}", gateway.admin_port());
    let caller = Launch::gateway()
        .config(&backend("any", &provider, "/any"))
        .env("POSTERN_ADMIN_TOKEN", "an-admin-token-of-a-test");
    launch.folder().write("postern.toml", &backend("other", &provider, "/other"));
    assert_eq!(command(&gateway, "/v1/reload", &json!({})).await.0, 401);
    let expected = json!({"added": ["backends.other"], "changed": [], "removed": ["backends.clinic"], "unchanged": 0,
        "dry_run": true, "waiting": {}});
    assert_eq!(told(&caller, &["reload", "--admin", &url, "--dry-run"]).await, expected);
    assert_eq!(send(&gateway, "clinic", "+15550000001").await, 202);
    provider.wait_for(1).await;
    let done = caller.clone().arg("reload").arg("--admin").arg(&url).arg("--by").arg("ops").run().await;
    assert_eq!(done.code, Some(0), "{}", done.log);
    assert!(done.out.contains("added    backends.other\nremoved  backends.clinic\n"), "{}", done.out);
    assert_eq!(send(&gateway, "clinic", "+15550000001").await, 404);
    let line = gateway.log().wait_for("configuration reloaded").await;
    assert!(line.contains("\"by\":\"ops@") && line.contains("(from 127.0.0.1)"), "{line}");
    gateway.ends_silent(&["an-admin-token-of-a-test", "+1555000"]).await;
}

/// Reload commands that come at once are carried out one after the other: the first finds a change, the others
/// find none.
#[tokio::test]
async fn of_reloads_at_once_one_changes_and_the_others_find_it_done() {
    let provider = Provider::obliging().await;
    let launch = Launch::gateway().config(&backend("clinic", &provider, "/clinic"));
    let gateway = launch.start().await;
    launch.folder().write(
        "postern.toml",
        &(backend("clinic", &provider, "/new") + &backend("other", &provider, "/other")),
    );
    let commands = (0..6).map(async |_| command(&gateway, "/v1/reload", &json!({"by": "ops"})).await);
    let done = futures_util::future::join_all(commands).await;
    let changed: Vec<_> =
        done.iter().map(|(status, done)| (*status, &done["added"], &done["changed"])).collect();
    let first = (200, &json!(["backends.other"]), &json!(["backends.clinic"]));
    let rest = (200, &json!([]), &json!([]));
    assert_eq!(changed.iter().filter(|done| **done == first).count(), 1, "{changed:?}");
    assert_eq!(changed.iter().filter(|done| **done == rest).count(), 5, "{changed:?}");
    assert_eq!(
        [send(&gateway, "clinic", "+15550000001").await, send(&gateway, "other", "+15550000002").await],
        [202, 202]
    );
    provider.wait_for(2).await;
    assert_eq!(
        [sent_to(&provider, "/new"), sent_to(&provider, "/other")].concat(),
        ["+15550000001", "+15550000002"]
    );
    gateway.ends_silent(&["+1555000"]).await;
}
