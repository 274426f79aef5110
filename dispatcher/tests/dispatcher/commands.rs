//! Commands of operators while messages wait.

use crate::setup::{Custom, Running, message, until};
use postern_dispatcher::connectors::{ConnectorRegistry, Outcomes, Sent};
use postern_service::health::BackendHealth;
use postern_shared::{
    control::{ControlCommand, ControlRecord},
    message::{BackendName, Priority},
};
use std::sync::{Arc, Mutex};

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
