//! Cancels the messages that wait for a backend.
//!
//! A cancellation is a rule in the control stream, and not a removal: every dispatcher applies it to each
//! message that it takes from then on. So the rule also covers retries that wait, spooled messages and
//! messages that a dispatcher holds, and no crash brings one back. The process that carries out the command
//! settles the messages in the backend's queues at once, even while the backend is paused.

use super::{
    CommandError, Operator, cancelled,
    cancelled::lacks_key,
    operator::{LANES, PATIENCE},
};
use crate::{
    moment,
    scan::{Becomes, Seen},
};
use jiff::Timestamp;
use postern_broker::{
    BrokerError, QueueName,
    queued::{Queued, read},
};
use postern_shared::{
    clock,
    control::{CancelRule, ControlCommand, QueueAction},
    message::Priority,
};
use serde::{Deserialize, Serialize};

/// Which of a backend's messages are to be cancelled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CancelCommand {
    /// Only messages created at this time or later. `None`: of any age.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "clock::serialize_option",
        deserialize_with = "moment::deserialize_option"
    )]
    pub since: Option<Timestamp>,
    /// Only messages created at this time or earlier. `None`, or a time in the future: now.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "clock::serialize_option",
        deserialize_with = "moment::deserialize_option"
    )]
    pub until: Option<Timestamp>,
    /// Only messages of this lane. `None`: of both lanes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Whether to report only what would be done.
    pub dry_run: bool,
    /// The operator's name, for the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// The result of a cancellation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancellation {
    /// Which messages. The rule also covers messages that `messages` does not count, because they wait for
    /// a retry, or because a dispatcher or a spool holds them. They are cancelled and reported when their
    /// turn comes.
    #[serde(flatten)]
    pub rule: CancelRule,
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// Messages that waited in the backend's queues.
    pub waiting: u64,
    /// Messages of the backend that wait for a retry, whether the rule covers them or not; they are counted
    /// neither in `waiting` nor in `messages`. `None` if unknown: see
    /// [`RetryCount`](crate::retries::RetryCount).
    #[serde(default)]
    pub retrying: Option<u64>,
    /// How many of the waiting messages were cancelled and reported; in a dry run, would be.
    pub messages: u64,
    /// How many recipients the messages in `messages` have.
    pub recipients: u64,
}

impl Operator {
    /// Cancels the messages of `backend` that `command` selects: they are no longer sent, and each of their
    /// recipients is reported as `failed`, or `unknown` if an attempt was not answered, with the code
    /// [`CANCELLED`](super::CANCELLED).
    ///
    /// # Errors
    /// [`CommandError`]. If the broker was lost after the command was stored, the command still applies.
    pub async fn cancel(
        &self,
        backend: &str,
        command: &CancelCommand,
        by: &str,
    ) -> Result<Cancellation, CommandError> {
        let _turn = self.turn.lock().await;
        let backend = self.configured(backend)?;
        let now = clock::now();
        let until = command.until.map_or(now, |until| until.min(now));
        if command.since.is_some_and(|since| since > until) {
            return Err(CommandError::Invalid(
                "since: must be before until, and not in the future".to_owned(),
            ));
        }
        let rule = CancelRule { backend, since: command.since, until, priority: command.priority };
        if !command.dry_run {
            self.command(ControlCommand::Cancel(rule.clone()), by).await?;
        }
        let lanes: Vec<_> = LANES
            .into_iter()
            .filter(|lane| command.priority.is_none_or(|priority| priority == *lane))
            .collect();
        let retrying = self.retrying(&rule.backend, &lanes).await;
        let dry_run = command.dry_run;
        let mut done = Cancellation { rule, dry_run, waiting: 0, retrying, messages: 0, recipients: 0 };
        for lane in lanes {
            self.sweep(&mut done, lane).await?;
        }
        if !done.dry_run {
            let queue = done.rule.backend.to_string();
            let action =
                QueueAction { done: "cancelled".to_owned(), queue, to: None, messages: done.messages };
            self.command(ControlCommand::Done(action), by).await?;
        }
        Ok(done)
    }

    /// Settles the messages in `lane` that the rule of `done` covers.
    async fn sweep(&self, done: &mut Cancellation, lane: Priority) -> Result<(), BrokerError> {
        let queue = QueueName::outbound(&done.rule.backend, lane);
        let scan = self.scans.begin(queue, PATIENCE, &[]).await?;
        done.waiting += scan.waiting();
        let Cancellation { rule, messages, recipients, .. } = done;
        let becomes = async |seen: &Seen| Ok(self.cancelled(rule, seen, lane));
        let told = |people: usize, outcome: Result<(), String>| {
            // A message that stays is settled by the dispatcher that takes it.
            if outcome.is_ok() {
                *messages += 1;
                *recipients += people as u64;
            }
        };
        scan.replace(done.dry_run, becomes, told).await
    }

    /// What a message becomes if `rule` covers it, and how many recipients it has.
    fn cancelled(&self, rule: &CancelRule, seen: &Seen, lane: Priority) -> Becomes<usize> {
        let message = read(&seen.envelope).ok().filter(|message| message.backend == rule.backend);
        let Some(message) = message else { return Becomes::Stays };
        let queued = Queued { envelope: &seen.envelope, message: &message, lane };
        // A message that does not say when it was created counts as older than the command.
        if !rule.covers(queued.counts_from(rule.until), lane) {
            return Becomes::Stays;
        }
        let keys = &self.configured.get().keys;
        // A dispatcher makes the callbacks when it takes the message.
        if lacks_key(queued, keys) {
            return Becomes::Stays;
        }
        Becomes::Replaced(message.identities.len(), cancelled(queued, keys, clock::now()))
    }
}
