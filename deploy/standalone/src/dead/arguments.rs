//! The arguments that the commands on dead letters have in common.

use crate::{admin_target::AdminTarget, given_by::GivenBy};
use clap::Args;
use postern_service::dead::{Age, DeadQueue, Filter};
use postern_shared::{error::FailureClass, message::BackendName};

/// The conditions that messages must meet. Several values of one condition are separated by commas.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeadFilterArguments {
    /// Only messages with this id, its beginning (at least 4 characters), or the handle that `list` shows if
    /// there is no id
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    id: Vec<String>,
    /// Only messages to or from this backend
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    backend: Vec<BackendName>,
    /// Only failures of this class: transient, throttled, permanent, config, unknown
    #[arg(long, value_name = "CLASS", value_delimiter = ',', value_parser = class)]
    class: Vec<FailureClass>,
    /// Only failures with this code: http_400, timeout, poison …
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    code: Vec<String>,
    /// Only messages dead-lettered longer ago than this: 30m, 2h, 7d
    #[arg(long, value_name = "TIME")]
    older_than: Option<Age>,
    /// Only messages dead-lettered within this time: 30m, 2h, 7d
    #[arg(long, value_name = "TIME")]
    newer_than: Option<Age>,
    /// At most this many messages, oldest first (list: 100 by default)
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
}

/// The queue that a command is about, and how the command answers.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeadTarget {
    /// `dead`, or `unrouted` for messages to backends that were not configured
    #[arg(long, value_name = "QUEUE", default_value = "dead", value_parser = dead_queue)]
    pub(super) queue: DeadQueue,
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) admin: AdminTarget,
    #[command(flatten)]
    pub(super) given_by: GivenBy,
}

fn class(name: &str) -> Result<FailureClass, String> {
    FailureClass::named(name)
        .ok_or_else(|| format!("must be one of {}", FailureClass::ALL.map(FailureClass::as_str).join(", ")))
}

fn dead_queue(name: &str) -> Result<DeadQueue, String> {
    match name {
        "dead" => Ok(DeadQueue::Dead),
        "unrouted" => Ok(DeadQueue::Unrouted),
        _ => Err("must be dead or unrouted".to_owned()),
    }
}

impl DeadFilterArguments {
    /// The filter for `queue` from these conditions and `ids`.
    pub(super) fn filter(self, ids: Vec<String>, queue: DeadQueue) -> Filter {
        let Self { mut id, backend, class, code, older_than, newer_than, limit } = self;
        id.extend(ids);
        Filter { id, backend, class, code, older_than, newer_than, limit, queue }
    }
}
