//! Lists the queues, and moves or purges the messages that wait in them.

use super::{
    CommandError, Operator, PlainCommand, cancelled,
    cancelled::lacks_key,
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
    control::{ControlCommand, QueueAction},
    message::{BackendName, Priority},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One queue of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueShown {
    /// The queue's name.
    pub name: String,
    /// The backend whose messages wait in the queue. `None` if they belong to no backend.
    pub backend: Option<BackendName>,
    /// Whether the configuration has it: the queues of a backend that was renamed or removed stay.
    pub configured: bool,
    /// Messages that wait for a consumer.
    pub messages: u64,
    /// Consumers, in all processes.
    pub consumers: u32,
}

/// All queues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueList {
    /// The queues, sorted by name, with the queues of backends that are not configured last.
    pub queues: Vec<QueueShown>,
}

/// Where the messages that wait for a backend are to go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveCommand {
    /// The backend that is to send them.
    pub to: String,
    /// Whether to report only what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// The operator's name, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// The result of a move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The backend that the messages waited for.
    pub from: BackendName,
    /// The backend that they wait for now.
    pub to: BackendName,
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// Messages that waited, in both lanes. Messages that wait for a retry are not counted: they return to
    /// the old queues when they are due, and can be moved then.
    pub waiting: u64,
    /// How many messages were moved; in a dry run, would be.
    pub messages: u64,
    /// How many were cancelled before, and are reported instead of moved.
    pub cancelled: u64,
    /// The messages that stay, and why.
    pub stay: Vec<Stays>,
    /// Whether an operator paused `from` but not `to`, so that the messages no longer wait for a resume.
    #[serde(default)]
    pub leaves_pause: bool,
}

/// The result of a purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// The backend or the queue that was purged.
    pub name: String,
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// How many messages were permanently dropped; in a dry run, would be.
    pub messages: u64,
}

/// A message that leaves its queue.
struct Leaves {
    id: Option<String>,
    /// Whether it was cancelled before, and is reported instead of moved.
    cancelled: bool,
}

impl Operator {
    /// All queues, with the number of messages that wait in each.
    ///
    /// # Errors
    /// The broker's error.
    pub async fn queues(&self) -> Result<QueueList, CommandError> {
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

    /// The queue called `name`. `None` if it does not exist.
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

    /// How many messages wait for each backend that was configured once and no longer is.
    ///
    /// # Errors
    /// The broker's error.
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

    /// Moves the messages that wait for the backend `from`, which need not be configured, to the backend in
    /// `command`. No message leaves its queue before it is stored in the new one.
    ///
    /// # Errors
    /// [`CommandError`]. Messages that were moved before the error stay moved.
    pub async fn move_messages(
        &self,
        from: &str,
        command: &MoveCommand,
        by: &str,
    ) -> Result<Moved, CommandError> {
        let _turn = self.turn.lock().await;
        let from: BackendName = from
            .parse()
            .map_err(|rule| CommandError::Invalid(format!("the backend to move from: {rule}")))?;
        let to = self.configured(&command.to)?;
        if from == to {
            return Err(CommandError::Invalid("to: must be another backend".to_owned()));
        }
        // A cancelled message must not be moved as one that is to be sent.
        self.until_known().await?;
        let (dry_run, stay) = (command.dry_run, Vec::new());
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

    async fn move_lane(&self, moved: &mut Moved, lane: Priority) -> Result<(), CommandError> {
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

    /// What a message that waits for `from` becomes when it is moved to `to`.
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
            if lacks_key(queued, keys) {
                let why = "it is cancelled, and its client wants callbacks: give this command the passwords of \
                           compat.kannel.users, or run it on a gateway with --admin";
                return Becomes::Cannot(leaves(true), why.to_owned());
            }
            return Becomes::Replaced(leaves(true), cancelled(queued, keys, clock::now()));
        }
        let new = Envelope { headers: envelope.own_headers(), body, ..envelope.clone() };
        let address = Address::Queue(QueueName::outbound(to, lane));
        Becomes::Replaced(leaves(false), vec![(address, new.requeued(clock::now()))])
    }

    /// Permanently drops the messages that wait in the queue called `name`, or in both queues of the
    /// backend called `name`.
    ///
    /// # Errors
    /// [`CommandError`]. Messages that were dropped before the error are gone.
    pub async fn purge(&self, name: &str, command: &PlainCommand, by: &str) -> Result<Purged, CommandError> {
        let _turn = self.turn.lock().await;
        let mut purged = Purged { name: name.to_owned(), dry_run: command.dry_run, messages: 0 };
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

    async fn purge_queue(&self, purged: &mut Purged, queue: QueueName) -> Result<(), CommandError> {
        let scan = self.scan(queue).await?;
        if purged.dry_run {
            purged.messages += scan.waiting();
            return Ok(());
        }
        let nothing = async |_: &Seen| Ok(Becomes::Replaced((), Published::new()));
        Ok(scan.replace(false, nothing, |(), _| purged.messages += 1).await?)
    }

    async fn scan(&self, queue: QueueName) -> Result<Scan<'_>, CommandError> {
        let name = queue.to_string();
        match self.scans.begin(queue, PATIENCE, &[]).await {
            Err(BrokerError::Refused(_)) => Err(CommandError::UnknownQueue { name }),
            scan => Ok(scan?),
        }
    }

    /// Publishes what was done, so that all processes log it. A failure to publish undoes nothing.
    async fn tell(&self, action: QueueAction, by: &str) {
        if let Err(error) = self.command(ControlCommand::Done(action.clone()), by).await {
            let QueueAction { done, queue, to, messages } = action;
            tracing::warn!(queue, to, messages, by, %error, "messages {done} by an operator; the other processes do not log it, because postern.control cannot be written");
        }
    }
}

/// The queues that `name` means: the two of a backend, or the queue with this name.
fn named(name: &str) -> Result<Vec<QueueName>, CommandError> {
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
        QueueName::log(),
    ];
    let outbound = QueueName::known(name).filter(|queue| queue.backend().is_some() || queue.holds_polls());
    let queue = outbound.or_else(|| others.into_iter().find(|queue| queue.as_str() == name));
    let allowed = || {
        CommandError::Invalid(format!(
            "NAME must be a backend, or a queue that `postern queue list` shows; {CONTROL}, {HEALTH} and \
             queues in which retries wait cannot be purged"
        ))
    };
    queue.map(|queue| vec![queue]).ok_or_else(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_broker::{LogRoute, Topology};

    #[test]
    fn every_declared_queue_can_be_purged() {
        let backend: BackendName = "clinic".parse().unwrap();
        let topology = Topology {
            backends: [backend.clone()].into(),
            polled: [backend].into(),
            delays: Default::default(),
            max_reports: 1,
            max_callbacks: 1,
            max_messages: None,
            log: LogRoute::Queue(1),
        };
        for spec in topology.queues() {
            assert_eq!(named(spec.name.as_str()).unwrap(), [spec.name]);
        }
    }

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
