//! A dispatcher for a test: a configuration, the broker in memory, and a way to end it.

use postern_broker::{Address, Broker, Envelope, memory::MemoryBroker};
use postern_config::{
    Config, ProviderRegistry,
    backend::{BackendConfig, connector::ConnectorDirection},
};
use postern_dispatcher::{
    Dispatcher, DispatcherReload, RunError, Validated,
    connectors::{Backend, ConnectorRegistry, Outcomes},
};
use postern_service::{
    Monitoring,
    control::Control,
    health::HealthRegistry,
    heartbeat::Heartbeats,
    metrics::Metrics,
    shutdown::{Shutdown, Trigger},
};
use postern_shared::message::{Outbound, Priority, Report, State};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;

/// An application's `traceparent`.
pub(crate) const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Reads a configuration that may use the type `custom`.
pub(crate) fn config(text: &str) -> Config {
    let mut providers = ProviderRegistry::builtin();
    providers.add_connector("custom", ConnectorDirection::Sends).unwrap();
    Config::parse("test", Some(text), [], &providers).unwrap()
}

/// The validated configuration `text`, from which a dispatcher is built.
pub(crate) fn validated(text: &str, connectors: &ConnectorRegistry) -> Validated {
    postern_dispatcher::validate(Arc::new(config(text)), connectors).unwrap()
}

/// The backend `demo` with `send` as its send table.
pub(crate) fn demo(send: &str) -> Arc<BackendConfig> {
    let text = format!("[backends.demo]\ntype = \"http\"\n[backends.demo.send]\n{send}\n");
    config(&text).backends.into_values().next().unwrap()
}

/// A sender that does what a function says.
pub(crate) struct Custom<F>(pub(crate) F);

#[async_trait::async_trait]
impl<F, T> Backend for Custom<F>
where
    F: Fn(Vec<String>) -> T + Send + Sync,
    T: Future<Output = Outcomes> + Send,
{
    async fn send(
        &self,
        _: postern_shared::message::MessageId,
        _: &str,
        identities: &[postern_shared::message::Identity],
        _: &postern_shared::message::Context,
    ) -> Outcomes {
        (self.0)(identities.iter().map(|identity| identity.as_str().to_owned()).collect()).await
    }

    fn deadline(&self, _: usize) -> Duration {
        Duration::from_millis(300)
    }
}

/// A dispatcher that runs.
pub(crate) struct Running {
    pub(crate) broker: MemoryBroker,
    pub(crate) metrics: Metrics,
    pub(crate) health: HealthRegistry,
    pub(crate) control: Control,
    pub(crate) reload: DispatcherReload,
    trigger: Trigger,
    task: JoinHandle<Result<bool, RunError>>,
}

impl Running {
    pub(crate) fn start(text: &str, connectors: &ConnectorRegistry) -> Self {
        Self::on(MemoryBroker::default(), text, connectors)
    }

    pub(crate) fn on(broker: MemoryBroker, text: &str, connectors: &ConnectorRegistry) -> Self {
        Self::watched(broker, text, connectors, Heartbeats::default())
    }

    pub(crate) fn watched(
        broker: MemoryBroker,
        text: &str,
        connectors: &ConnectorRegistry,
        heartbeats: Heartbeats,
    ) -> Self {
        let metrics = Metrics::new("test", "0").unwrap();
        let shared: Arc<dyn Broker> = Arc::new(broker.clone());
        let monitoring = Monitoring { heartbeats, ..Monitoring::new(metrics.clone()) };
        let (health, control) = (monitoring.health.clone(), monitoring.control.clone());
        let dispatcher = Dispatcher::new(validated(text, connectors), shared, &monitoring).unwrap();
        let (trigger, shutdown) = Shutdown::new();
        let reload = dispatcher.reload();
        let task = tokio::spawn(dispatcher.run(shutdown));
        Self { broker, metrics, health, control, reload, trigger, task }
    }

    /// Queues `body` for `backend`.
    pub(crate) async fn queue(&self, backend: &str, lane: Priority, body: impl Into<String>) {
        let envelope = Envelope { body: body.into().into(), ..Envelope::default() };
        self.queue_envelope(backend, lane, envelope).await;
    }

    pub(crate) async fn queue_envelope(&self, backend: &str, lane: Priority, envelope: Envelope) {
        let address = Address::Outbound(backend.parse().unwrap(), lane);
        self.broker.publish(vec![(address, envelope)]).await.unwrap();
    }

    /// Waits until there are `number` reports, and returns them.
    pub(crate) async fn reports(&self, number: usize) -> Vec<Report> {
        until("reports", || self.broker.waiting("postern.reports").len() >= number).await;
        let reports = self.broker.waiting("postern.reports");
        reports.iter().map(|envelope| Report::from_json(&envelope.body).unwrap()).collect()
    }

    /// Waits until there are `number` dead letters, and returns them.
    pub(crate) async fn dead(&self, number: usize) -> Vec<Envelope> {
        until("dead letters", || self.broker.waiting("postern.dead").len() >= number).await;
        self.broker.waiting("postern.dead")
    }

    /// How many dead letters of `backend` and `class` were counted.
    pub(crate) fn dead_counted(&self, backend: &str, class: &str) -> u64 {
        let series = format!("postern_dead_letters_total{{backend=\"{backend}\",class=\"{class}\"}} ");
        let text = self.metrics.text();
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.unwrap_or_else(|| panic!("no {series}: {text}")).parse().unwrap()
    }

    /// Waits until no message is in progress.
    pub(crate) async fn idle(&self) {
        until("idleness", || self.broker.leased() == 0).await;
    }

    pub(crate) fn drain(&self) {
        self.trigger.drain();
    }

    /// Drains, and waits for the end.
    pub(crate) async fn stop(self) -> MemoryBroker {
        self.drain();
        self.ended().await
    }

    /// Drains, waits for the end, and checks that `shutdown.deadline` has cut something off.
    pub(crate) async fn cut_off(self) -> MemoryBroker {
        self.drain();
        let (broker, finished) = self.end().await;
        assert!(!finished, "all was finished");
        broker
    }

    pub(crate) async fn ended(self) -> MemoryBroker {
        self.end().await.0
    }

    /// The broker, and whether all that was in flight was finished.
    async fn end(self) -> (MemoryBroker, bool) {
        let ended = tokio::time::timeout(Duration::from_secs(20), self.task).await;
        (self.broker, ended.unwrap().unwrap().unwrap())
    }
}

/// A message for `demo` to `identities`.
pub(crate) fn message(identities: &[&str]) -> String {
    serde_json::json!({"backend": "demo", "identities": identities, "text": "pong"}).to_string()
}

/// The retries that wait, as messages.
pub(crate) fn retries(broker: &MemoryBroker) -> Vec<(Address, Outbound)> {
    let read =
        |(address, envelope): (Address, Envelope)| (address, Outbound::from_json(&envelope.body).unwrap());
    broker.delayed().into_iter().map(read).collect()
}

/// The states of a report, by identity.
pub(crate) fn states(report: &Report) -> Vec<(&str, State)> {
    report
        .recipients
        .iter()
        .map(|recipient| (recipient.identity.as_ref().unwrap().as_str(), recipient.state))
        .collect()
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("no {what}"));
}
