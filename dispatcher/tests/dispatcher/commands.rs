//! Commands of operators while messages wait.

use crate::{
    provider::{Answer, Provider},
    setup::{Custom, Running, message, states, until},
};
use postern_dispatcher::connectors::{ConnectorRegistry, Outcomes, Sent};
use postern_service::health::BackendHealth;
use postern_shared::{
    clock,
    control::{CancelRule, ControlCommand, ControlRecord},
    message::{BackendName, Priority, State},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::sync::Semaphore;

const CONFIG: &str = "[dispatcher]\nconcurrency = 2\n[backends.demo]\ntype = \"custom\"\n";

/// A sender that notes the identities to which it sends.
fn noting(sent: &Arc<Mutex<Vec<String>>>) -> ConnectorRegistry {
    let sent = sent.clone();
    let connector = move |_: &_| {
        let sent = sent.clone();
        Ok(Custom(move |identities: Vec<String>| {
            sent.lock().unwrap().extend(identities);
            async { Outcomes::every(Ok(Sent::without_id())) }
        }))
    };
    ConnectorRegistry::builtin().with("custom", connector).unwrap()
}

fn demo() -> BackendName {
    "demo".parse().unwrap()
}

fn command(running: &Running, command: ControlCommand) {
    running.control.apply(&ControlRecord::now(command, "ops@desk"));
}

#[tokio::test]
async fn a_paused_backend_sends_nothing_until_it_is_resumed() {
    let sent = Arc::default();
    let running = Running::start(CONFIG, &noting(&sent));
    running.queue("demo", Priority::Normal, message(&["before"])).await;
    running.reports(1).await;

    command(&running, ControlCommand::Pause { backend: demo() });
    until("pause", || matches!(running.health.of(&demo()), BackendHealth::PausedByOperator { .. })).await;
    running.idle().await;
    for n in 0..5 {
        running.queue("demo", Priority::Bulk, message(&[&format!("+{n}")])).await;
    }
    running.queue("demo", Priority::Normal, message(&["normal"])).await;
    // Another command makes the backend look again; still nothing is taken.
    command(&running, ControlCommand::Pause { backend: "other".parse().unwrap() });
    running.idle().await;
    assert_eq!(running.broker.waiting("postern.outbound.demo.bulk").len(), 5);
    assert_eq!(*sent.lock().unwrap(), ["before"]);

    command(&running, ControlCommand::Resume { backend: demo() });
    running.reports(7).await;
    assert_eq!(running.health.of(&demo()), BackendHealth::Ready);
    running.stop().await;
}

/// Cancels all messages of `demo` up to now.
fn cancel(running: &Running) {
    let rule = CancelRule { backend: demo(), since: None, until: clock::now(), priority: None };
    command(running, ControlCommand::Cancel(rule));
}

/// The identities and states of the `number`th report.
async fn reported(running: &Running, number: usize) -> Vec<(String, State)> {
    let report = running.reports(number).await.remove(number - 1);
    states(&report).into_iter().map(|(identity, state)| (identity.to_owned(), state)).collect()
}

#[tokio::test]
async fn a_cancelled_message_ends_with_the_requests_in_flight() {
    let gate = Arc::new(Semaphore::new(0));
    let ok = "HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n".to_owned();
    let provider = Provider::answering(Answer::Gated(gate.clone(), ok)).await;
    let text = format!(
        "[backends.demo]\ntype = \"http\"\nconcurrency = 1\n[backends.demo.send]\nurl = \"{}/send\"\n\
         form = {{ to = \"{{{{ identity }}}}\" }}\ntimeout = \"1m\"\n",
        provider.url
    );
    let running = Running::start(&text, &ConnectorRegistry::builtin());
    let body = serde_json::json!({
        "backend": "demo", "identities": ["1", "2", "3"], "text": "x", "created_at": "2020-01-01T00:00:00Z",
    });
    running.queue("demo", Priority::Normal, body.to_string()).await;
    until("the first request", || provider.received().len() == 1).await;
    cancel(&running);
    gate.add_permits(10);
    let of = |identity: &str, state| (identity.to_owned(), state);
    assert_eq!(
        reported(&running, 1).await,
        [of("1", State::Sent), of("2", State::Retrying), of("3", State::Retrying)]
    );
    until("the rest", || running.broker.delayed().len() == 1).await;
    running.broker.pass_delays();
    assert_eq!(reported(&running, 2).await, [of("2", State::Failed), of("3", State::Failed)]);
    running.idle().await;
    assert_eq!(provider.received().len(), 1);
    let broker = running.stop().await;
    assert!(broker.waiting("postern.dead").is_empty() && broker.delayed().is_empty());
}

#[tokio::test]
async fn a_message_that_is_cancelled_while_it_waits_for_the_rate_is_not_sent() {
    let sent = Arc::default();
    let text = format!("{CONFIG}rate = {{ limit = \"30/min\", burst = 1 }}\n");
    let running = Running::start(&text, &noting(&sent));
    running.queue("demo", Priority::Normal, message(&["before"])).await;
    running.reports(1).await;
    running.idle().await;
    running.queue("demo", Priority::Normal, message(&["after"])).await;
    until("it to be taken", || running.broker.leased() == 1).await;
    // Nothing says when it was created: it counts from when it was taken.
    tokio::time::sleep(Duration::from_millis(50)).await;
    cancel(&running);
    assert_eq!(reported(&running, 2).await, [("after".to_owned(), State::Failed)]);
    assert_eq!(*sent.lock().unwrap(), ["before"]);
    running.stop().await;
}
