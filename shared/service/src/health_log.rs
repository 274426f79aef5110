//! The stream `postern.health`: processes that share a broker tell each other which of the backends that
//! they serve do not send now, and why.
//!
//! A process whose backends all send publishes nothing. A process with something to tell repeats its
//! record, and the others forget the record some time after the last repetition: a process that was killed
//! says nothing more.
//!
//! Processes need this because a paused dispatcher and an absent one look the same: neither consumes.

use crate::{
    health::{BackendHealth, HealthRegistry},
    shutdown::Shutdown,
};
use jiff::Timestamp;
use postern_broker::{Address, Broker, BrokerError, Envelope, QueueName};
use postern_shared::{
    backoff::Backoff,
    clock,
    message::{BackendName, MessageId},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{task::JoinHandle, time::sleep};

/// The kind of a record, in AMQP's `type`.
const HEALTH_V1: &str = "postern.health.v1";
/// How often it is checked whether there is something new to tell.
const PERIOD: Duration = Duration::from_millis(500);
/// The time after which a record is repeated although nothing has changed.
const AGAIN: Duration = Duration::from_secs(10);
/// How long a record counts.
const COUNTS: Duration = Duration::from_secs(30);
/// How many records are taken at a time.
const PREFETCH: u16 = 64;

/// One record: what one process tells the others.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct HealthRecord {
    /// A name that no other process has.
    process: String,
    /// When it was written, in UTC.
    #[serde(serialize_with = "clock::serialize")]
    at: Timestamp,
    /// The process's backends that do not send.
    not_sending: BTreeMap<BackendName, WrittenHealth>,
}

/// Why a backend does not send.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum WrittenHealth {
    /// The provider is down, or asked for fewer requests.
    Paused {
        why: String,
        /// After how many seconds the next message is tried.
        seconds: u64,
    },
    /// There is no connection to the provider.
    Unbound { why: String },
}

impl HealthRecord {
    fn now(process: &str, not_sending: &BTreeMap<BackendName, BackendHealth>) -> Self {
        let written = not_sending.iter().filter_map(|(backend, health)| {
            let written = match health {
                BackendHealth::NotBound { why } => WrittenHealth::Unbound { why: why.clone() },
                BackendHealth::Paused { why, until } => {
                    let seconds = until.saturating_duration_since(Instant::now()).as_secs();
                    WrittenHealth::Paused { why: why.clone(), seconds }
                }
                BackendHealth::Ready | BackendHealth::PausedByOperator { .. } => return None,
            };
            Some((backend.clone(), written))
        });
        Self { process: process.to_owned(), at: clock::now(), not_sending: written.collect() }
    }

    /// What it tells a process that reads it `age` after it was written.
    fn read(self, age: Duration) -> BTreeMap<BackendName, BackendHealth> {
        let read = |written| match written {
            WrittenHealth::Unbound { why } => BackendHealth::NotBound { why },
            WrittenHealth::Paused { why, seconds } => {
                let left = Duration::from_secs(seconds.min(86_400)).saturating_sub(age);
                BackendHealth::Paused { why, until: Instant::now() + left }
            }
        };
        self.not_sending.into_iter().map(|(backend, written)| (backend, read(written))).collect()
    }
}

/// Tells the other processes on `broker` what `health` notes about the backends of this process, until this
/// process drains. Notes in `health` what the others tell, until the broker is closed. The task that is
/// returned ends when everything is told.
pub(crate) fn exchange(
    health: HealthRegistry,
    broker: Arc<dyn Broker>,
    shutdown: Shutdown,
) -> JoinHandle<()> {
    let process = MessageId::new().to_string();
    tokio::spawn(hear(health.clone(), broker.clone(), process.clone()));
    tokio::spawn(async move {
        let mut told = BTreeMap::new();
        tokio::select! {
            () = tell(&health, &*broker, &process, &mut told) => {}
            () = shutdown.started() => {}
        }
        // This process no longer serves any backend.
        if !told.is_empty() {
            let _ = publish(&*broker, &HealthRecord::now(&process, &BTreeMap::new())).await;
        }
    })
}

/// Tells the others each change, and repeats what has not changed. `told` is what they know.
async fn tell(
    health: &HealthRegistry,
    broker: &dyn Broker,
    process: &str,
    told: &mut BTreeMap<BackendName, BackendHealth>,
) {
    let mut last = Instant::now();
    loop {
        sleep(PERIOD).await;
        let not_sending = health.not_sending();
        let is_known = not_sending == *told && (told.is_empty() || last.elapsed() < AGAIN);
        if is_known {
            continue;
        }
        match publish(broker, &HealthRecord::now(process, &not_sending)).await {
            Ok(()) => (*told, last) = (not_sending, Instant::now()),
            Err(BrokerError::Closed) => return,
            Err(error) => {
                tracing::debug!(%error, "postern.health cannot be written: the other processes do not know which backends are paused, retrying");
                sleep(AGAIN).await;
            }
        }
    }
}

async fn publish(broker: &dyn Broker, record: &HealthRecord) -> Result<(), BrokerError> {
    let log = QueueName::health();
    // A message to a queue that does not exist would be stored as unrouted.
    broker.depth(&log).await?;
    let envelope = Envelope {
        kind: Some(HEALTH_V1.to_owned()),
        content_type: Some("application/json".to_owned()),
        body: serde_json::to_vec(record).unwrap_or_default().into(),
        ..Envelope::default()
    };
    broker.publish(vec![(Address::Queue(log), envelope)]).await
}

async fn hear(health: HealthRegistry, broker: Arc<dyn Broker>, process: String) {
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    loop {
        match broker.consume(&QueueName::health(), PREFETCH).await {
            Ok(mut consumer) => {
                while let Some(delivery) = consumer.next().await {
                    match serde_json::from_slice::<HealthRecord>(&delivery.envelope.body) {
                        Ok(record) if record.process != process => note(&health, record),
                        Ok(_) => {}
                        Err(_) => tracing::debug!("invalid record in postern.health ignored"),
                    }
                    delivery.ack();
                }
                return;
            }
            Err(BrokerError::Closed) => return,
            Err(error) => tracing::debug!(%error, "postern.health cannot be read, retrying"),
        }
        sleep(backoff.pause()).await;
    }
}

/// Notes what another process told, unless the record is too old.
fn note(health: &HealthRegistry, record: HealthRecord) {
    let age = Duration::try_from(clock::now().duration_since(record.at)).unwrap_or_default();
    if let Some(left) = COUNTS.checked_sub(age) {
        let process = record.process.clone();
        health.told(&process, record.read(age), Instant::now() + left);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_process_tells_another_one_notes_until_it_is_too_old() {
        let backend: BackendName = "clinic".parse().unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        for (health, json, read) in [
            (
                BackendHealth::NotBound { why: "connection refused".to_owned() },
                r#"{"state":"unbound","why":"connection refused"}"#,
                "is not bound: connection refused",
            ),
            (
                BackendHealth::Paused { why: "the provider is down".to_owned(), until },
                r#"{"state":"paused","why":"the provider is down","seconds":59}"#,
                "is paused: the provider is down; the next message is tried in 39 s",
            ),
        ] {
            let record = HealthRecord::now("a", &[(backend.clone(), health)].into());
            assert_eq!(serde_json::to_string(&record.not_sending[&backend]).unwrap(), json);
            let written = serde_json::to_vec(&record).unwrap();
            let back: HealthRecord = serde_json::from_slice(&written).unwrap();
            assert_eq!(back.read(Duration::from_secs(20))[&backend].to_string(), read);
        }
        let told = |seconds_ago: i64| {
            let registry = HealthRegistry::default();
            let down = BackendHealth::NotBound { why: "connection refused".to_owned() };
            let record = HealthRecord::now("a", &[(backend.clone(), down)].into());
            let at = record.at - jiff::SignedDuration::from_secs(seconds_ago);
            note(&registry, HealthRecord { at, ..record });
            registry.elsewhere(&backend).is_some()
        };
        // A record from a clock that is ahead counts, too.
        assert_eq!([told(0), told(20), told(31), told(-3600)], [true, true, false, true]);
    }
}
