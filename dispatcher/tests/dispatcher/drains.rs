//! The drain: messages in flight finish, the others are requeued, and nothing is lost.

use crate::{
    provider::{Answer, Provider, answer},
    setup::{Running, message, retries, until},
};
use postern_dispatcher::connectors::ConnectorRegistry;
use postern_shared::message::Priority;
use std::{sync::Arc, time::Instant};
use tokio::sync::Semaphore;

const OK: &str = "HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n";

fn config(provider: &Provider, deadline: &str) -> String {
    format!(
        "[shutdown]\ndeadline = \"{deadline}\"\n[backends.demo]\ntype = \"http\"\nconcurrency = 2\n\
         [backends.demo.send]\nurl = \"{}/send\"\nform = {{ to = \"{{{{ identity }}}}\" }}\n\
         timeout = \"1m\"\n",
        provider.url
    )
}

#[tokio::test]
async fn what_is_in_flight_finishes_and_what_is_not_begun_goes_back_first() {
    let gate = Arc::new(Semaphore::new(0));
    let provider = Provider::answering(Answer::Gated(gate.clone(), OK.to_owned())).await;
    let running = Running::start(&config(&provider, "20s"), &ConnectorRegistry::builtin());
    for n in 0..7 {
        running.queue("demo", Priority::Normal, message(&[&n.to_string()])).await;
    }
    until("two in flight, two waiting", || provider.received().len() == 2 && running.broker.leased() == 4)
        .await;
    running.drain();
    until("a hand-back", || running.broker.leased() == 2).await;
    assert_eq!(running.broker.waiting("postern.outbound.demo").len(), 5);
    gate.add_permits(100);
    let broker = running.ended().await;
    assert_eq!(broker.waiting("postern.reports").len(), 2);
    assert_eq!(broker.waiting("postern.outbound.demo").len(), 5);
    assert_eq!((broker.leased(), provider.received().len()), (0, 2));
}

#[tokio::test]
async fn a_message_to_many_settles_what_was_sent_and_leaves_the_rest_to_another_process() {
    let gate = Arc::new(Semaphore::new(0));
    let provider = Provider::answering(Answer::Gated(gate.clone(), OK.to_owned())).await;
    let running = Running::start(&config(&provider, "20s"), &ConnectorRegistry::builtin());
    let many: Vec<_> = (0..50).map(|n| n.to_string()).collect();
    running
        .queue("demo", Priority::Normal, message(&many.iter().map(String::as_str).collect::<Vec<_>>()))
        .await;
    // One permit is kept for another message.
    for (n, other) in ["other", "waiting"].into_iter().enumerate() {
        until("a request", || provider.received().len() == n + 1).await;
        running.queue("demo", Priority::Normal, message(&[other])).await;
    }
    until("two in flight, one waiting", || provider.received().len() == 2 && running.broker.leased() == 3)
        .await;
    running.drain();
    until("a hand-back", || running.broker.leased() == 2).await;
    let begun = Instant::now();
    gate.add_permits(100);
    let broker = running.ended().await;
    assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
    assert_eq!((provider.received().len(), broker.waiting("postern.reports").len()), (2, 2));
    let retries = retries(&broker);
    let [(_, rest)] = &*retries else { panic!("{retries:?}") };
    assert_eq!((rest.identities.len(), rest.attempt, rest.deferred), (49, 1, 0));
    assert_eq!(broker.waiting("postern.outbound.demo").len(), 1);
}

#[tokio::test]
async fn at_the_deadline_the_rest_goes_back() {
    let provider = Provider::answering(Answer::Never).await;
    let running = Running::start(&config(&provider, "300ms"), &ConnectorRegistry::builtin());
    running.queue("demo", Priority::Bulk, message(&["1"])).await;
    until("a request", || !provider.received().is_empty()).await;
    let (begun, metrics) = (Instant::now(), running.metrics.clone());
    let broker = running.cut_off().await;
    assert!(begun.elapsed().as_millis() >= 300 && begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
    assert_eq!(broker.waiting("postern.outbound.demo.bulk").len(), 1);
    assert_eq!((broker.leased(), broker.waiting("postern.reports").len()), (0, 0));
    assert!(metrics.text().contains("postern_dispatch_in_flight{backend=\"demo\"} 0"));
}

#[tokio::test]
async fn what_cannot_be_stored_until_the_deadline_goes_back() {
    let provider = Provider::answering(answer(200, "")).await;
    let running = Running::start(&config(&provider, "300ms"), &ConnectorRegistry::builtin());
    running.queue("demo", Priority::Normal, message(&["1"])).await;
    running.broker.fail_publishes(usize::MAX);
    until("a request", || !provider.received().is_empty()).await;
    let broker = running.cut_off().await;
    assert_eq!(broker.waiting("postern.outbound.demo").len(), 1);
    assert_eq!((broker.leased(), provider.received().len()), (0, 1));
}

#[tokio::test]
async fn an_idle_dispatcher_ends_at_once() {
    let provider = Provider::answering(answer(200, "")).await;
    // The test gives up long before this deadline.
    let running = Running::start(&config(&provider, "10m"), &ConnectorRegistry::builtin());
    running.queue("demo", Priority::Normal, message(&["1"])).await;
    running.reports(1).await;
    running.idle().await;
    let begun = Instant::now();
    let broker = running.stop().await;
    assert!(begun.elapsed().as_secs() < 15);
    assert_eq!((broker.leased(), broker.waiting("postern.reports").len()), (0, 1));
}
