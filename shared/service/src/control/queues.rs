//! The queues: listed, and what waits in them moved or purged.

use super::{
    Operator, OrderError, cancelled,
    operator::{LANES, PATIENCE},
};
use crate::{
    dead::Stays,
    scan::{Becomes, Published, Scan, Seen},
};
use postern_broker::{
    Address, BrokerError, Envelope, QueueName,
    queued::{Queued, read, with_backend},
    topology::{CONTROL, HEALTH},
};
use postern_shared::{
    clock,
    control::{ControlOrder, QueueAction},
    message::{BackendName, Priority},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueShown {
    /// Its name.
    pub name: String,
    /// The backend whose messages wait in it. `None` if it is no backend's.
    pub backend: Option<BackendName>,
    /// Whether the configuration has it: a backend that was renamed or removed leaves its queues.
    pub configured: bool,
    /// Messages that wait for a consumer.
    pub messages: u64,
    /// Consumers, in all processes.
    pub consumers: u32,
}

/// All queues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueList {
    /// The queues, in the order of their names, those of backends that are not configured last.
    pub queues: Vec<QueueShown>,
}

/// Where what waits for a backend is to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveOrder {
    /// The backend that is to send it.
    pub to: String,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Who gives the order, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// What was moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The backend whose messages they were.
    pub from: BackendName,
    /// The backend that sends them now.
    pub to: BackendName,
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// Messages that waited, in both lanes. Those that wait for a retry come to the old queues when they
    /// are due: they are not in this number, and another move takes them.
    pub waiting: u64,
    /// How many are moved; in a dry run, would be.
    pub messages: u64,
    /// How many were cancelled before, and are reported instead.
    pub cancelled: u64,
    /// Those that stay, and why.
    pub stay: Vec<Stays>,
    /// Whether an operator paused `from` and nobody paused `to`, so that they do not wait any longer.
    #[serde(default)]
    pub leaves_pause: bool,
}

/// What is to be purged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PurgeOrder {
    /// Only say what would be done.
    pub dry_run: bool,
    /// Who gives the order, for the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// What was purged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// The backend or the queue.
    pub name: String,
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// How many messages are dropped for good; in a dry run, would be.
    pub messages: u64,
}

/// A message that is to leave its queue.
struct Leaves {
    id: Option<String>,
    /// Whether it was cancelled before, and is reported instead of moved.
    cancelled: bool,
}

impl Operator {
    /// All queues with what waits in them.
    ///
    /// # Errors
    /// The broker's.
    pub async fn queues(&self) -> Result<QueueList, OrderError> {
        let mut queues = Vec::new();
        for name in &self.configured.get().queues() {
            queues.extend(self.shown(name, true).await?);
        }
        for backend in self.unconfigured_backends() {
            for lane in LANES {
                queues.extend(self.shown(&QueueName::outbound(&backend, lane), false).await?);
            }
        }
        Ok(QueueList { queues })
    }

    /// `None` if there is no such queue.
    async fn shown(&self, name: &QueueName, configured: bool) -> Result<Option<QueueShown>, BrokerError> {
        match self.broker.depth(name).await {
            Ok(depth) => Ok(Some(QueueShown {
                name: name.to_string(),
                backend: name.backend(),
                configured,
                messages: depth.ready,
                consumers: depth.consumers,
            })),
            Err(BrokerError::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How many messages wait for each backend that is not configured and was once.
    ///
    /// # Errors
    /// The broker's.
    pub async fn unconfigured(&self) -> Result<BTreeMap<BackendName, u64>, BrokerError> {
        let mut waiting = BTreeMap::new();
        for backend in self.unconfigured_backends() {
            let mut messages = 0;
            for lane in LANES {
                let shown = self.shown(&QueueName::outbound(&backend, lane), false).await?;
                messages += shown.map_or(0, |shown| shown.messages);
            }
            waiting.insert(backend, messages);
        }
        Ok(waiting)
    }

    fn unconfigured_backends(&self) -> Vec<BackendName> {
        let mut known = self.control.state().known().clone();
        known.extend(self.broker.undeclared().iter().filter_map(QueueName::backend));
        known.difference(self.configured.get().backends()).cloned().collect()
    }

    /// Has the backend of `order` send what waits for the backend `from`, which need not be configured.
    /// No message leaves its queue before it is stored in the new one.
    ///
    /// # Errors
    /// [`OrderError`]; what was moved until then is.
    pub async fn move_messages(&self, from: &str, order: &MoveOrder, by: &str) -> Result<Moved, OrderError> {
        let _turn = self.turn.lock().await;
        let from: BackendName =
            from.parse().map_err(|rule| OrderError::Invalid(format!("the backend to move from: {rule}")))?;
        let to = self.configured(&order.to)?;
        if from == to {
            return Err(OrderError::Invalid("to: must be another backend".to_owned()));
        }
        let (dry_run, stay) = (order.dry_run, Vec::new());
        let state = self.control.state();
        let leaves_pause = state.pauses().contains_key(&from) && !state.pauses().contains_key(&to);
        let mut moved =
            Moved { from, to, dry_run, waiting: 0, messages: 0, cancelled: 0, stay, leaves_pause };
        let mut outcome = Ok(());
        for lane in LANES {
            if outcome.is_ok() {
                outcome = self.move_lane(&mut moved, lane).await;
            }
        }
        if moved.messages > 0 && !dry_run {
            let (queue, to) = (moved.from.to_string(), Some(moved.to.to_string()));
            self.tell(QueueAction { done: "moved".to_owned(), queue, to, messages: moved.messages }, by)
                .await;
        }
        outcome.map(|()| moved)
    }

    async fn move_lane(&self, moved: &mut Moved, lane: Priority) -> Result<(), OrderError> {
        let queue = QueueName::outbound(&moved.from, lane);
        let scan = self.scan(queue).await?;
        moved.waiting += scan.waiting();
        let Moved { from, to, messages, cancelled, stay, .. } = moved;
        let becomes = async |seen: &Seen| Ok(self.way(from, to, seen, lane));
        let told = |left: Leaves, outcome: Result<(), String>| match (outcome, left.cancelled) {
            (Ok(()), false) => *messages += 1,
            (Ok(()), true) => *cancelled += 1,
            (Err(why), _) => stay.push(Stays { id: left.id, why }),
        };
        Ok(scan.replace(moved.dry_run, becomes, told).await?)
    }

    /// What a message that waits for `from` becomes if `to` is to send it.
    fn way(&self, from: &BackendName, to: &BackendName, seen: &Seen, lane: Priority) -> Becomes<Leaves> {
        let envelope = &seen.envelope;
        let leaves = |cancelled| Leaves { id: envelope.message_id.clone(), cancelled };
        let message = read(envelope).map_err(|malformed| malformed.to_string());
        let message = message.and_then(|message| match message.backend == *from {
            true => Ok(message),
            false => Err("backend: this is the queue of another backend".to_owned()),
        });
        let body = message.and_then(|message| {
            let body = with_backend(&envelope.body, to).ok_or("the message's backend cannot be changed")?;
            Ok((message, body))
        });
        let (message, body) = match body {
            Ok(read) => read,
            Err(why) => return Becomes::Cannot(leaves(false), why),
        };
        let queued = Queued { envelope, message: &message, lane };
        if self.control.cancels(queued, seen.since.elapsed()) {
            let keys = &self.configured.get().keys;
            return Becomes::Replaced(leaves(true), cancelled(queued, keys, clock::now()));
        }
        let new = Envelope { headers: envelope.own_headers(), body, ..envelope.clone() };
        let address = Address::Queue(QueueName::outbound(to, lane));
        Becomes::Replaced(leaves(false), vec![(address, new.requeued(clock::now()))])
    }

    /// Drops for good what waits in the queue called `name`, or in both of the backend called so.
    ///
    /// # Errors
    /// [`OrderError`]; what was dropped until then is.
    pub async fn purge(&self, name: &str, order: &PurgeOrder, by: &str) -> Result<Purged, OrderError> {
        let _turn = self.turn.lock().await;
        let mut purged = Purged { name: name.to_owned(), dry_run: order.dry_run, messages: 0 };
        let mut outcome = Ok(());
        for queue in named(name)? {
            if outcome.is_ok() {
                outcome = self.purge_queue(&mut purged, queue).await;
            }
        }
        if purged.messages > 0 && !purged.dry_run {
            let (done, queue) = ("purged".to_owned(), purged.name.clone());
            self.tell(QueueAction { done, queue, to: None, messages: purged.messages }, by).await;
        }
        outcome.map(|()| purged)
    }

    async fn purge_queue(&self, purged: &mut Purged, queue: QueueName) -> Result<(), OrderError> {
        let scan = self.scan(queue).await?;
        if purged.dry_run {
            purged.messages += scan.waiting();
            return Ok(());
        }
        let nothing = async |_: &Seen| Ok(Becomes::Replaced((), Published::new()));
        Ok(scan.replace(false, nothing, |(), _| purged.messages += 1).await?)
    }

    async fn scan(&self, queue: QueueName) -> Result<Scan<'_>, OrderError> {
        let name = queue.to_string();
        match self.scans.begin(queue, PATIENCE, &[]).await {
            Err(BrokerError::Refused(_)) => Err(OrderError::UnknownQueue { name }),
            scan => Ok(scan?),
        }
    }

    /// Has all processes log what was done. It is done: whether that can be told changes nothing.
    async fn tell(&self, action: QueueAction, by: &str) {
        if let Err(error) = self.order(ControlOrder::Done(action.clone()), by).await {
            let QueueAction { done, queue, to, messages } = action;
            tracing::warn!(queue, to, messages, by, %error, "messages {done} by an operator, but the other processes cannot be told");
        }
    }
}

/// The queues that `name` means: the two of a backend, or the one of this name.
fn named(name: &str) -> Result<Vec<QueueName>, OrderError> {
    if let Ok(backend) = name.parse::<BackendName>() {
        return Ok(LANES.map(|lane| QueueName::outbound(&backend, lane)).into());
    }
    let others = [
        QueueName::inbound(),
        QueueName::reports(),
        QueueName::callbacks(),
        QueueName::bulk_callbacks(),
        QueueName::dead(),
        QueueName::unrouted(),
    ];
    let outbound = QueueName::known(name).filter(|queue| queue.backend().is_some() || queue.holds_polls());
    let queue = outbound.or_else(|| others.into_iter().find(|queue| queue.as_str() == name));
    let allowed = || {
        OrderError::Invalid(format!(
            "only a backend, or a queue that `postern queue list` shows, can be purged, but not {CONTROL}, \
             {HEALTH} or a queue in which retries wait"
        ))
    };
    queue.map(|queue| vec![queue]).ok_or_else(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_a_backends_two_queues_or_one_that_holds_messages() {
        let names =
            |name| named(name).map(|queues| queues.iter().map(ToString::to_string).collect::<Vec<_>>());
        for (name, queues) in [
            ("clinic", vec!["postern.outbound.clinic", "postern.outbound.clinic.bulk"]),
            ("postern.outbound.clinic.bulk", vec!["postern.outbound.clinic.bulk"]),
            ("postern.unrouted", vec!["postern.unrouted"]),
            ("postern.inbound", vec!["postern.inbound"]),
        ] {
            assert_eq!(names(name).unwrap(), queues);
        }
        for name in ["", "Clinic", "postern.control", "postern.wait.1000ms", "postern.outbound.", "amq.topic"]
        {
            assert!(names(name).is_err(), "{name}");
        }
    }
}
