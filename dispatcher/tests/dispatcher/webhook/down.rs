//! An application that is down: which messages wait, which are tried, and how much that costs.

use super::{SECRET, config, inbound, json_format, metric, write_in};
use crate::{
    provider::{Answer, Provider, answer},
    setup::{Running, until},
};
use postern_broker::{Envelope, HeaderValue, header, memory::MemoryBroker};
use postern_dispatcher::connectors::ConnectorRegistry;
use postern_service::health::BackendHealth;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The numbers of the attempts that wait for their delay.
fn waiting_attempts(running: &Running) -> Vec<i64> {
    let delayed = running.broker.delayed();
    delayed.iter().map(|(_, envelope)| envelope.integer_header(header::ATTEMPT).unwrap()).collect()
}

#[tokio::test]
async fn while_it_is_down_messages_wait_in_their_queue_and_use_no_attempts() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = up.clone();
    let provider =
        Provider::start(move |_| answer(if is_up.load(Ordering::SeqCst) { 200 } else { 502 }, "")).await;
    let broker = MemoryBroker::default();
    for _ in 0..100 {
        write_in(&broker, Envelope::from(&inbound("ping"))).await;
    }
    let more = format!(
        "secret = \"{SECRET}\"\nconcurrency = 4\nretry = {{ delays = [\"3s\"] }}\n\
         breaker = {{ failures = 6, pause = \"200ms\", max_pause = \"400ms\" }}"
    );
    let running = Running::on(broker, &config(&provider, &more), &ConnectorRegistry::builtin());
    let paused = || running.health.application().is_some_and(|health| health != BackendHealth::Ready);
    until("the pause", paused).await;
    assert!(running.health.application().unwrap().to_string().contains("http_502"));
    until("hand-back", || running.broker.waiting("postern.inbound").len() >= 85).await;
    until("single tries", || provider.received().len() >= 13).await;
    let attempts = waiting_attempts(&running);
    let counted = attempts.iter().filter(|attempt| **attempt == 2).count();
    assert!((1..=5).contains(&counted) && attempts.contains(&1), "before it opened: {attempts:?}");
    assert!(running.health.not_ready().is_empty(), "it is no backend");
    up.store(true, Ordering::SeqCst);
    until("all delivered", || {
        running.broker.pass_delays();
        metric(&running, "postern.inbound", "sent", 100)
    })
    .await;
    assert_eq!(running.health.application(), Some(BackendHealth::Ready));
    assert!(running.stop().await.waiting("postern.dead").is_empty());
}

#[tokio::test]
async fn the_only_message_is_not_given_up_while_it_is_down_and_is_when_it_refuses_it() {
    for (down, no_answer) in [(answer(500, ""), false), (Answer::CloseUnread, false), (Answer::Never, true)] {
        let refuses = Arc::new(AtomicBool::new(false));
        let is_refused = refuses.clone();
        let provider = Provider::start(move |_| match is_refused.load(Ordering::SeqCst) {
            true => answer(400, ""),
            false => down.clone(),
        })
        .await;
        let timeout = if no_answer { "timeout = \"100ms\"\n" } else { "" };
        let more = format!(
            "secret = \"{SECRET}\"\n{timeout}breaker = {{ pause = \"100ms\", max_pause = \"100ms\" }}"
        );
        let running = Running::start(&config(&provider, &more), &ConnectorRegistry::builtin());
        write_in(&running.broker, Envelope::from(&inbound("ping"))).await;
        for attempt in [2, 3, 3, 3, 3] {
            until("another attempt", || running.broker.delayed().len() == 1).await;
            assert_eq!(waiting_attempts(&running), [attempt]);
            running.broker.pass_delays();
        }
        until("the pause", || running.health.application() != Some(BackendHealth::Ready)).await;
        refuses.store(true, Ordering::SeqCst);
        until("its end", || {
            running.broker.pass_delays();
            running.broker.waiting("postern.dead").len() == 1
        })
        .await;
        let letter = running.dead(1).await.remove(0);
        assert_eq!(letter.headers[header::ATTEMPTS], HeaderValue::Integer(3));
        until("the end of the pause", || running.health.application() == Some(BackendHealth::Ready)).await;
        running.stop().await;
    }
}

#[tokio::test]
async fn a_first_connection_that_is_refused_pauses_it_at_once() {
    let gone = Provider::answering(answer(200, "")).await;
    let text = json_format(&gone);
    drop(gone);
    let running = Running::start(&text, &ConnectorRegistry::builtin());
    write_in(&running.broker, Envelope::from(&inbound("ping"))).await;
    until("it to wait", || running.broker.delayed().len() == 1).await;
    assert_eq!(waiting_attempts(&running), [1]);
    let health = running.health.application().unwrap().to_string();
    assert!(
        health.starts_with("is paused: breaker open: the webhook is down") && health.contains("connect"),
        "{health}"
    );
    running.stop().await;
}
