//! Commands that operators give while the gateway runs: to pause a backend, to resume it, to cancel the
//! messages that wait for it.
//!
//! Each command is a [`ControlRecord`] in the stream `postern.control`, which every process reads from the
//! first record on and folds into a [`ControlState`]. So a command holds for all processes and outlives
//! them.

mod state;

pub use state::{ControlState, Pause};

use crate::{
    clock,
    message::{BackendName, Malformed, Priority},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The AMQP `type` property of a [`ControlRecord`].
pub const CONTROL_V1: &str = "postern.control.v1";

/// The longest [`ControlRecord::by`], in characters.
const MAX_BY: usize = 200;

/// One record of the stream: who gave which command, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlRecord {
    /// When it was given. UTC.
    #[serde(serialize_with = "clock::serialize")]
    pub at: Timestamp,
    /// Who gave it: the user and the machine of a command, or the address that asked the admin port.
    pub by: String,
    /// The command.
    #[serde(flatten)]
    pub command: ControlCommand,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum ControlCommand {
    /// Nothing is sent through this backend until it is resumed.
    Pause {
        /// The backend.
        backend: BackendName,
    },
    /// This backend sends again.
    Resume {
        /// The backend.
        backend: BackendName,
    },
    /// These messages are not sent any more.
    Cancel(CancelRule),
    /// These backends are, or were, configured: their queues may hold messages.
    Known {
        /// The backends.
        backends: Vec<BackendName>,
    },
    /// Something was done with the messages of a queue. Each process only writes a log line about it.
    Done(QueueAction),
    /// A command of a later version.
    #[serde(other)]
    Unknown,
}

/// Which messages are cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRule {
    /// The backend whose messages are cancelled.
    pub backend: BackendName,
    /// The earliest creation time of a cancelled message. `None`: any, however old.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "clock::serialize_option")]
    pub since: Option<Timestamp>,
    /// The latest creation time of a cancelled message.
    #[serde(serialize_with = "clock::serialize")]
    pub until: Timestamp,
    /// The lane of the cancelled messages. `None`: both lanes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
}

/// What an operator did with the messages of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueAction {
    /// What was done: `cancelled`, `moved` or `purged`.
    pub done: String,
    /// The backend or the queue from which the messages were removed.
    pub queue: String,
    /// The backend that the messages were moved to. `None` if they were not moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// How many messages there were.
    pub messages: u64,
}

impl ControlRecord {
    /// The record of `command`, given now by `by`, whose name is cut after 200 characters.
    pub fn now(command: ControlCommand, by: &str) -> Self {
        Self { at: clock::now(), by: by.chars().take(MAX_BY).collect(), command }
    }

    /// Reads the body of a record.
    ///
    /// # Errors
    /// [`Malformed`] with the field at fault.
    pub fn from_json(body: &[u8]) -> Result<Self, Malformed> {
        serde_json::from_slice(body).map_err(|error| Malformed {
            kind: CONTROL_V1,
            why: format!("line {} column {}", error.line(), error.column()),
        })
    }

    /// The body for the stream.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl CancelRule {
    /// Whether the rule cancels a message of its backend that was created at `created_at` and waits in
    /// `lane`.
    pub fn covers(&self, created_at: Timestamp, lane: Priority) -> bool {
        self.priority.is_none_or(|priority| priority == lane)
            && self.since.is_none_or(|since| since <= created_at)
            && created_at <= self.until
    }

    /// Whether this rule cancels every message that `other` cancels.
    fn includes(&self, other: &Self) -> bool {
        self.backend == other.backend
            && (self.priority.is_none() || self.priority == other.priority)
            && other.until <= self.until
            && match (self.since, other.since) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(since), Some(other)) => since <= other,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was_and_reads_as_documented() {
        let at = "2026-11-27T08:00:00Z".parse().unwrap();
        let backend: BackendName = "clinic".parse().unwrap();
        let rule =
            CancelRule { backend: backend.clone(), since: None, until: at, priority: Some(Priority::Bulk) };
        let moved = QueueAction {
            done: "moved".to_owned(),
            queue: "clinic".to_owned(),
            to: Some("klinik".to_owned()),
            messages: 40,
        };
        for (command, json) in [
            (ControlCommand::Pause { backend: backend.clone() }, r#""action":"pause","backend":"clinic"}"#),
            (ControlCommand::Resume { backend: backend.clone() }, r#""action":"resume","backend":"clinic"}"#),
            (
                ControlCommand::Cancel(rule),
                r#""action":"cancel","backend":"clinic","until":"2026-11-27T08:00:00.000Z","priority":"bulk"}"#,
            ),
            (ControlCommand::Known { backends: vec![backend] }, r#""action":"known","backends":["clinic"]}"#),
            (
                ControlCommand::Done(moved),
                r#""action":"done","done":"moved","queue":"clinic","to":"klinik","messages":40}"#,
            ),
        ] {
            let record = ControlRecord { at, by: "ops@desk".to_owned(), command };
            let written = String::from_utf8(record.to_json()).unwrap();
            assert_eq!(written, format!(r#"{{"at":"2026-11-27T08:00:00.000Z","by":"ops@desk",{json}"#));
            assert_eq!(ControlRecord::from_json(written.as_bytes()).unwrap(), record);
        }
        let later = br#"{"at":"2026-11-27T08:00:00.000Z","by":"x","action":"teleport","to":"mars"}"#;
        assert_eq!(ControlRecord::from_json(later).unwrap().command, ControlCommand::Unknown);
        assert!(ControlRecord::from_json(b"{}").is_err());
        assert_eq!(ControlRecord::now(ControlCommand::Unknown, &"x".repeat(300)).by.len(), MAX_BY);
    }
}
