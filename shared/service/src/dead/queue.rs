//! The queues of dead letters.

use postern_broker::QueueName;
use serde::{Deserialize, Serialize};

/// A queue that no consumer works through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeadQueue {
    /// `postern.dead`
    #[default]
    Dead,
    /// `postern.unrouted`
    Unrouted,
}

impl DeadQueue {
    /// The queue's name.
    pub fn queue(self) -> QueueName {
        match self {
            Self::Dead => QueueName::dead(),
            Self::Unrouted => QueueName::unrouted(),
        }
    }
}
