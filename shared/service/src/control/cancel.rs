//! Cancelling what waits for a backend.
//!
//! A cancellation is a rule in the log of orders, and not a removal: every dispatcher settles by it what
//! it takes from then on, so that retries that wait, spooled messages and those that a dispatcher holds
//! are covered, and no crash brings one back. What waits in the backend's queues is settled at once by
//! who gives the order, also while the backend is paused.

use super::{
    Operator, OrderError, cancelled,
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
    control::{CancelRule, ControlOrder, QueueAction},
    message::Priority,
};
use serde::{Deserialize, Serialize};

/// Which of a backend's messages are to be cancelled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CancelOrder {
    /// Those that were created then or later. `None`: however old.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "clock::serialize_option",
        deserialize_with = "moment::deserialize_option"
    )]
    pub since: Option<Timestamp>,
    /// Those that were created then or earlier. `None`, or a time to come: now.
    #[serde(
        skip_serializing_if = "Option::is_none",
        serialize_with = "clock::serialize_option",
        deserialize_with = "moment::deserialize_option"
    )]
    pub until: Option<Timestamp>,
    /// Those of this lane. `None`: of both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    /// Only say what would be done.
    pub dry_run: bool,
    /// Who gives the order, for the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// What was cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancellation {
    /// Which messages: also those that are not in `messages`, since they wait for a retry, or a
    /// dispatcher or a spool holds them. They are cancelled and reported when their turn comes.
    #[serde(flatten)]
    pub rule: CancelRule,
    /// Whether this was a dry run, which changes nothing.
    pub dry_run: bool,
    /// Messages that waited in the backend's queues.
    pub waiting: u64,
    /// Messages of the backend that wait for their next attempt, whether the rule means them or not: they are
    /// in neither number. `None` if it is not known: see [`RetryCount`](crate::retries::RetryCount).
    #[serde(default)]
    pub retrying: Option<u64>,
    /// How many of them are cancelled and reported; in a dry run, would be.
    pub messages: u64,
    /// Recipients of these messages.
    pub recipients: u64,
}

impl Operator {
    /// Cancels the messages of `backend` that `order` means: they are not sent any more, and each of
    /// their recipients is reported as failed with the code [`CANCELLED`](super::CANCELLED).
    ///
    /// # Errors
    /// [`OrderError`]. If the broker was lost after the order was stored, it holds all the same.
    pub async fn cancel(
        &self,
        backend: &str,
        order: &CancelOrder,
        by: &str,
    ) -> Result<Cancellation, OrderError> {
        let _turn = self.turn.lock().await;
        let backend = self.configured(backend)?;
        let now = clock::now();
        let until = order.until.map_or(now, |until| until.min(now));
        if order.since.is_some_and(|since| since > until) {
            return Err(OrderError::Invalid("since: must be before until, and not in the future".to_owned()));
        }
        let rule = CancelRule { backend, since: order.since, until, priority: order.priority };
        if !order.dry_run {
            self.order(ControlOrder::Cancel(rule.clone()), by).await?;
        }
        let lanes: Vec<_> = LANES
            .into_iter()
            .filter(|lane| order.priority.is_none_or(|priority| priority == *lane))
            .collect();
        let retrying = self.retrying(&rule.backend, &lanes).await;
        let dry_run = order.dry_run;
        let mut done = Cancellation { rule, dry_run, waiting: 0, retrying, messages: 0, recipients: 0 };
        for lane in lanes {
            self.sweep(&mut done, lane).await?;
        }
        if !done.dry_run {
            let queue = done.rule.backend.to_string();
            let action =
                QueueAction { done: "cancelled".to_owned(), queue, to: None, messages: done.messages };
            self.order(ControlOrder::Done(action), by).await?;
        }
        Ok(done)
    }

    /// Settles what `done`'s rule means of what waits in `lane`.
    async fn sweep(&self, done: &mut Cancellation, lane: Priority) -> Result<(), BrokerError> {
        let queue = QueueName::outbound(&done.rule.backend, lane);
        let scan = self.scans.begin(queue, PATIENCE, &[]).await?;
        done.waiting += scan.waiting();
        let Cancellation { rule, messages, recipients, .. } = done;
        let becomes = async |seen: &Seen| Ok(self.cancelled(rule, seen, lane));
        let told = |people: usize, outcome: Result<(), String>| {
            // One that stays is settled by the dispatcher that takes it.
            if outcome.is_ok() {
                *messages += 1;
                *recipients += people as u64;
            }
        };
        scan.replace(done.dry_run, becomes, told).await
    }

    /// What a message becomes if `rule` means it, and how many recipients it has.
    fn cancelled(&self, rule: &CancelRule, seen: &Seen, lane: Priority) -> Becomes<usize> {
        let message = read(&seen.envelope).ok().filter(|message| message.backend == rule.backend);
        let Some(message) = message else { return Becomes::Stays };
        let queued = Queued { envelope: &seen.envelope, message: &message, lane };
        // One that does not say when it was created was there when the order was given.
        if !rule.covers(queued.counts_from(rule.until), lane) {
            return Becomes::Stays;
        }
        Becomes::Replaced(
            message.identities.len(),
            cancelled(queued, &self.configured.get().keys, clock::now()),
        )
    }
}
