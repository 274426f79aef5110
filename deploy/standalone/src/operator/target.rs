//! The options that say who carries out an operator's command.

use crate::{admin_target::AdminTarget, given_by::GivenBy};
use clap::Args;
use postern_service::program::Exit;
use postern_shared::{message::BackendName, terminal};

/// Who carries out the command, and how it answers.
#[derive(Debug, Clone, Args)]
pub(crate) struct CommandTarget {
    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) admin: AdminTarget,
    #[command(flatten)]
    pub(super) given_by: GivenBy,
}

/// `name` as a path segment. Only the name of a backend or a queue is accepted.
pub(super) fn segment(name: &str) -> Result<&str, Exit> {
    let is_queue = name.starts_with("postern.") && !name.contains('/');
    match name.parse::<BackendName>() {
        Err(rule) if !is_queue => Err(Exit::Config(format!("{}: {rule}", terminal::plain(name)))),
        _ => Ok(name),
    }
}
