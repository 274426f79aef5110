//! An ingress on a port of its own.

use crate::client::{self, Answer};
use postern_broker::{Broker, memory::MemoryBroker};
use postern_config::{Config, ProviderRegistry};
use postern_ingress::{Ingress, IngressReload, forms::Forms};
use postern_service::{
    Monitoring,
    message_log::{MessageLog, OpenLog, Retention},
    metrics::Metrics,
    shutdown::{Shutdown, Trigger},
};
use postern_shared::message::{Inbound, Outbound};
use serde_json::Value;
use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// A running ingress.
pub(crate) struct Running {
    pub(crate) broker: MemoryBroker,
    pub(crate) address: SocketAddr,
    pub(crate) api: SocketAddr,
    pub(crate) metrics: Metrics,
    pub(crate) reload: IngressReload,
    pub(crate) trigger: Trigger,
    pub(crate) ended: JoinHandle<io::Result<bool>>,
}

pub(crate) fn config(text: &str, forms: &Forms) -> Config {
    let mut providers = ProviderRegistry::builtin();
    forms.add_to(&mut providers).unwrap();
    let local = [("POSTERN__INGRESS__LISTEN", "127.0.0.1:0"), ("POSTERN__INGRESS__WORKERS", "1")];
    let local = local.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Config::parse("test.toml", Some(text), local, &providers).unwrap()
}

/// `text`, which begins with the table `[ingress]`, with a `read_timeout` that a test can wait for. Only for
/// requests that never end: on a busy machine, others may take as long.
pub(crate) fn impatient(text: &str) -> String {
    text.replacen("[ingress]\n", "[ingress]\nread_timeout = \"300ms\"\n", 1)
}

/// Gives an ingress the message log `log`.
fn reading(log: Arc<dyn MessageLog>) -> impl FnOnce(&mut Monitoring) {
    let open = OpenLog::new(log, Retention { age: None, max_bytes: None });
    |monitoring| monitoring.log = Some(open)
}

impl Running {
    pub(crate) async fn start(text: &str) -> Self {
        Self::with_forms(text, Forms::builtin()).await
    }

    pub(crate) async fn with_forms(text: &str, forms: Forms) -> Self {
        Self::with(text, forms, |_| {}).await
    }

    pub(crate) async fn with_log(text: &str, log: Arc<dyn MessageLog>) -> Self {
        Self::with(text, Forms::builtin(), reading(log)).await
    }

    /// An ingress that publishes to `broker` and has the message log `log`.
    pub(crate) async fn logged_by(broker: Arc<dyn Broker>, text: &str, log: Arc<dyn MessageLog>) -> Self {
        Self::on(broker, text, Forms::builtin(), reading(log)).await
    }

    pub(crate) async fn with(text: &str, forms: Forms, set: impl FnOnce(&mut Monitoring)) -> Self {
        let broker = MemoryBroker::default();
        let ingress = Self::on(Arc::new(broker.clone()), text, forms, set).await;
        Self { broker, ..ingress }
    }

    async fn on(
        broker: Arc<dyn Broker>,
        text: &str,
        forms: Forms,
        set: impl FnOnce(&mut Monitoring),
    ) -> Self {
        let metrics = Metrics::new("test", "0").unwrap();
        let config = Arc::new(config(text, &forms));
        let (trigger, shutdown) = Shutdown::new();
        let mut monitoring = Monitoring::new(metrics.clone());
        set(&mut monitoring);
        let ingress = Ingress::bind(config, broker, monitoring, &forms).unwrap();
        let (address, api) = (ingress.address().unwrap(), ingress.api_address().unwrap());
        let reload = ingress.reload();
        let ended = tokio::spawn(ingress.run(shutdown));
        Self { broker: MemoryBroker::default(), address, api, metrics, reload, trigger, ended }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        client::send(self.address, &client::written("GET", path, &[], b"")).await
    }

    pub(crate) async fn method(&self, method: &str, path: &str) -> Answer {
        client::send(self.address, &client::written(method, path, &[], b"")).await
    }

    pub(crate) async fn post(&self, path: &str, kind: &str, body: &[u8]) -> Answer {
        let headers = [("Content-Type", kind)];
        client::send(self.address, &client::written("POST", path, &headers, body)).await
    }

    pub(crate) async fn form(&self, path: &str, body: &str) -> Answer {
        self.post(path, "application/x-www-form-urlencoded", body.as_bytes()).await
    }

    pub(crate) async fn json(&self, path: &str, body: &Value) -> Answer {
        self.post(path, "application/json", body.to_string().as_bytes()).await
    }

    /// The value of a metric.
    pub(crate) fn metric(&self, name_and_labels: &str) -> Option<f64> {
        let text = self.metrics.text();
        let value = text.lines().find_map(|line| line.strip_prefix(name_and_labels)?.strip_prefix(' '))?;
        value.parse().ok()
    }

    /// Waits until a metric has the value `wanted`.
    pub(crate) async fn until(&self, name_and_labels: &str, wanted: f64) {
        let begun = Instant::now();
        while self.metric(name_and_labels) != Some(wanted) {
            assert!(begun.elapsed().as_secs() < 60, "{name_and_labels}: {:?}", self.metric(name_and_labels));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The inbound messages since the last time.
    pub(crate) fn inbound(&self) -> Vec<Inbound> {
        let published = self.broker.take();
        published.iter().map(|(_, envelope)| Inbound::from_json(&envelope.body).unwrap()).collect()
    }

    /// The outbound messages since the last time.
    pub(crate) fn outbound(&self) -> Vec<Outbound> {
        let published = self.broker.take();
        published.iter().map(|(_, envelope)| Outbound::from_json(&envelope.body).unwrap()).collect()
    }
}
