//! The log `postern.health`: processes that share a broker tell each other which of the backends that they
//! serve do not send now, and why.
//!
//! A process whose backends all send tells nothing. One that has something to tell repeats it, and what it
//! told is forgotten some time after the last word: a process that was killed says nothing more.
//!
//! Processes need this because a dispatcher that pauses consumes no more than one that is not there.

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

/// The name of a record's kind, as AMQP's `type` has it.
const HEALTH_V1: &str = "postern.health.v1";
/// How often it is asked whether there is something new to tell.
const PERIOD: Duration = Duration::from_millis(500);
/// When it is told again although it is the same.
const AGAIN: Duration = Duration::from_secs(10);
/// For how long what was told counts.
const COUNTS: Duration = Duration::from_secs(30);
/// How many records are taken at a time.
const PREFETCH: u16 = 64;

/// One record: what one process tells.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct HealthRecord {
    /// A name that no other process has.
    process: String,
    /// When. UTC.
    #[serde(serialize_with = "clock::serialize")]
    at: Timestamp,
    /// Those of its backends that do not send.
    not_sending: BTreeMap<BackendName, WrittenHealth>,
}

/// Why a backend does not send.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase")]
enum WrittenHealth {
    /// The provider is down or asked for time.
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

    /// What it tells, to a process that reads it `age` after it was written.
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

/// Tells the other processes of `broker` what `health` notes of the backends of this one, until it drains,
/// and notes there what they tell, until the broker is closed. The task ends when all is told.
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
        // It serves none any more.
        if !told.is_empty() {
            let _ = publish(&*broker, &HealthRecord::now(&process, &BTreeMap::new())).await;
        }
    })
}

/// Tells the others again and again. `told` is what they know.
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
                tracing::debug!(%error, "the other processes cannot be told which backends are paused, retrying");
                sleep(AGAIN).await;
            }
        }
    }
}

async fn publish(broker: &dyn Broker, record: &HealthRecord) -> Result<(), BrokerError> {
    let log = QueueName::health();
    // What is published to a queue that is not there is stored as unrouted.
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
                        Err(_) => tracing::debug!("invalid record in the log postern.health ignored"),
                    }
                    delivery.ack();
                }
                return;
            }
            Err(BrokerError::Closed) => return,
            Err(error) => tracing::debug!(%error, "the log postern.health cannot be read, retrying"),
        }
        sleep(backoff.pause()).await;
    }
}

/// Notes what another process told, unless that was too long ago.
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
        // A clock that is ahead takes nothing from it.
        assert_eq!([told(0), told(20), told(31), told(-3600)], [true, true, false, true]);
    }
}
