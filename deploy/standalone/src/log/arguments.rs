//! The options that say which messages of the log a command is about.

use clap::Args;
use jiff::Timestamp;
use postern_service::{
    message_log::{ListOrder, LoggedState, MessageQuery},
    moment,
};
use postern_shared::{
    event::Direction,
    message::{BackendName, Identity},
};

/// The conditions; a message must meet all of them.
#[derive(Debug, Clone, Args)]
pub(crate) struct LogFilterArguments {
    /// Only messages through this backend
    #[arg(long, value_name = "NAME")]
    backend: Option<BackendName>,
    /// Only messages that this person sent or received
    #[arg(long, value_name = "NUMBER")]
    identity: Option<Identity>,
    /// Only messages with a recipient in this state: received, forwarded, queued, retrying, sent, buffered,
    /// delivered, undelivered, failed, expired, unknown
    #[arg(long, value_name = "STATE")]
    state: Option<LoggedState>,
    /// Only inbound messages (from people) or outbound messages (to people)
    #[arg(long, value_name = "DIRECTION", value_parser = direction)]
    direction: Option<Direction>,
    /// Only messages to which the provider gave this id
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    /// Only messages created at this time or later: 2026-11-27T08:00:00Z, or 2h for two hours ago
    #[arg(long, value_name = "TIME", value_parser = moment::of_now)]
    since: Option<Timestamp>,
    /// Only messages created before this time
    #[arg(long, value_name = "TIME", value_parser = moment::of_now)]
    until: Option<Timestamp>,
    /// At most this many messages (list: 100 by default)
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

impl LogFilterArguments {
    /// The most messages to print. `None`: no `--limit` was given.
    pub(super) fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The query of the first page.
    pub(super) fn query(self, order: ListOrder) -> MessageQuery {
        let Self { backend, identity, state, direction, external_id, since, until, limit: _ } = self;
        let all = MessageQuery::default();
        MessageQuery { backend, identity, state, direction, external_id, since, until, order, ..all }
    }
}

fn direction(name: &str) -> Result<Direction, &'static str> {
    match name {
        "inbound" => Ok(Direction::Inbound),
        "outbound" => Ok(Direction::Outbound),
        _ => Err("must be inbound or outbound"),
    }
}
