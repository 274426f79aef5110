//! A new configuration while messages are sent.

use crate::{
    provider::{Answer, Provider, answer},
    setup::{Running, message, until, validated},
};
use postern_dispatcher::connectors::ConnectorRegistry;
use postern_service::health::BackendHealth;
use postern_shared::message::{BackendName, Priority};
use std::sync::Arc;
use tokio::sync::Semaphore;

const OK: &str = "HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n";

fn http(name: &str, provider: &Provider) -> String {
    format!(
        "[backends.{name}]\ntype = \"http\"\nconcurrency = 2\n[backends.{name}.send]\nurl = \"{}/send\"\n\
         form = {{ to = \"{{{{ identity }}}}\" }}\ntimeout = \"1m\"\n",
        provider.url
    )
}

async fn take_over(running: &Running, text: &str, connectors: &ConnectorRegistry) {
    running.reload.apply(validated(text, connectors)).await.unwrap();
}

#[tokio::test]
async fn what_is_in_flight_ends_at_the_old_provider_and_the_rest_goes_to_the_new() {
    let gate = Arc::new(Semaphore::new(0));
    let old = Provider::answering(Answer::Gated(gate.clone(), OK.to_owned())).await;
    let new = Provider::answering(answer(200, "")).await;
    let connectors = ConnectorRegistry::builtin();
    let running = Running::start(&http("demo", &old), &connectors);
    for n in 0..7 {
        running.queue("demo", Priority::Normal, message(&[&n.to_string()])).await;
    }
    until("two in flight, two waiting", || old.received().len() == 2 && running.broker.leased() == 4).await;
    take_over(&running, &http("demo", &new), &connectors).await;
    until("the others", || new.received().len() == 5).await;
    assert_eq!((old.received().len(), running.reports(5).await.len()), (2, 5));
    gate.add_permits(100);
    assert_eq!(running.reports(7).await.len(), 7);
    running.idle().await;
    let broker = running.stop().await;
    assert_eq!((old.received().len(), new.received().len(), broker.delayed().len()), (2, 5, 0));
}

#[tokio::test]
async fn what_did_not_change_is_not_begun_again_and_what_is_gone_leaves_its_messages() {
    let connectors = ConnectorRegistry::builtin();
    let down = Provider::answering(Answer::CloseUnread).await;
    let breaker = "[breaker]\nfailures = 2\npause = \"60s\"\n[retry]\ndelays = [\"1s\"]\n";
    let with = |more: &str| format!("{breaker}{}{more}", http("demo", &down));
    let running = Running::start(&with("[backends.gone]\ntype = \"console\"\n"), &connectors);
    let [demo, gone]: [BackendName; 2] = ["demo", "gone"].map(|name| name.parse().unwrap());
    for n in 0..2 {
        running.queue("demo", Priority::Normal, message(&[&n.to_string()])).await;
    }
    let is_paused = || matches!(running.health.of(&demo), BackendHealth::Paused { .. });
    until("an open breaker", is_paused).await;
    take_over(&running, &with("[backends.more]\ntype = \"console\"\n"), &connectors).await;
    assert!(is_paused(), "the breaker stays open");
    assert!(running.metrics.text().contains("postern_breaker_open{backend=\"demo\"} 1"));
    assert!(running.health.all().iter().all(|(name, _)| *name != gone));
    running.queue("gone", Priority::Normal, message(&["1"])).await;
    running.queue("more", Priority::Normal, message(&["1"]).replace("demo", "more")).await;
    until("a report", || running.broker.waiting("postern.reports").len() == 3).await;
    assert_eq!(running.broker.waiting("postern.outbound.gone").len(), 1);
    // A backend that changed starts again.
    let up = Provider::answering(answer(200, "")).await;
    let changed = with("").replace(&down.url, &up.url);
    take_over(&running, &changed, &connectors).await;
    assert_eq!(running.health.of(&demo), BackendHealth::Ready);
    running.queue("demo", Priority::Normal, message(&["3"])).await;
    until("a message at the new provider", || up.received().len() == 1).await;
    assert!(running.metrics.text().contains("postern_breaker_open{backend=\"demo\"} 0"));
    running.stop().await;
}

#[tokio::test]
async fn there_is_none_once_the_drain_has_begun() {
    let provider = Provider::answering(answer(200, "")).await;
    let connectors = ConnectorRegistry::builtin();
    let running = Running::start(&http("demo", &provider), &connectors);
    let reload = running.reload.clone();
    running.stop().await;
    let refused = reload.apply(validated(&http("demo", &provider), &connectors)).await;
    assert_eq!(refused.unwrap_err().to_string(), "the dispatcher is draining");
}
