//! `postern dead`: the messages that could not be sent.
//!
//! With RabbitMQ it works on the queues themselves, whatever else runs. The embedded store belongs to
//! one process: where a gateway has it, its admin port is asked (`remote`), else the store is opened
//! here.

mod arguments;
mod client;
mod remote;
mod table;

use crate::greeting::print;
use arguments::{FilterArguments, Target};
use clap::Subcommand;
use client::DeadLetterClient;
use postern_config::Config;
use postern_service::{dead::Listing, program::Exit};
use postern_shared::terminal;
use serde::Serialize;
use std::net::SocketAddr;

/// What `postern dead` can do.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Action {
    /// List them, oldest first, without numbers and texts
    List {
        #[command(flatten)]
        which: FilterArguments,
        #[command(flatten)]
        target: Target,
    },
    /// Show messages whole: with the people's numbers and what they wrote
    Show {
        /// Their ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        target: Target,
    },
    /// Put them back into the queues that they died in, to be sent again from the first attempt
    ///
    /// The id stays the same. Whatever interrupts this, nothing is lost; a crash of this program can
    /// double up to 256 messages. What has expired (expires_at) dies again at once.
    Redrive {
        /// Only these
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        which: FilterArguments,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        target: Target,
    },
    /// Drop them for good: by ids or conditions, or, with --yes, all of them
    Drop {
        /// Only these
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        which: FilterArguments,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        /// Drop all of them
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        target: Target,
    },
}

/// Does it. `admin` is where the admin port is when the configuration does not say it.
///
/// # Errors
/// [`Exit::Config`] for what the command line or the configuration can mend, [`Exit::Failed`] for the
/// rest.
pub(crate) async fn run(action: Action, config: &Config, admin: SocketAddr) -> Result<(), Exit> {
    let target = match &action {
        Action::List { target, .. } | Action::Show { target, .. } => target.clone(),
        Action::Redrive { target, .. } | Action::Drop { target, .. } => target.clone(),
    };
    if let Action::Drop { ids, which, dry_run: false, yes: false, .. } = &action
        && which.clone().filter(ids.clone(), target.queue).is_everything()
    {
        let why = "postern dead drop: every message would be dropped: name ids or conditions, or add --yes";
        return Err(Exit::Config(why.to_owned()));
    }
    let client = DeadLetterClient::open(&target, config, admin).await?;
    let done = answer(&client, action, &target).await;
    client.close().await;
    Ok(print(&done?)?)
}

async fn answer(client: &DeadLetterClient, action: Action, target: &Target) -> Result<String, Exit> {
    Ok(match action {
        Action::List { which, .. } => {
            let mut filter = which.filter(Vec::new(), target.queue);
            filter.limit.get_or_insert(postern_service::admin::dead::LISTED);
            let listing = client.list(&filter).await?;
            if target.json { json(&listing)? } else { table::list(&listing) }
        }
        Action::Show { ids, .. } => {
            let mut whole = Listing::default();
            for id in &ids {
                let found = client.show(id, target.queue).await?;
                if found.letters.is_empty() {
                    let queue = target.queue.queue();
                    return Err(Exit::Failed(anyhow::anyhow!("no message in {queue} has the id {id}")));
                }
                whole.waiting = found.waiting;
                whole.letters.extend(found.letters);
            }
            if target.json { json(&whole)? } else { table::show(&whole)? }
        }
        Action::Redrive { ids, which, dry_run, .. } => {
            let done = client.redrive(&which.filter(ids, target.queue), dry_run).await?;
            if target.json { json(&done)? } else { table::done(&done, "put back") }
        }
        Action::Drop { ids, which, dry_run, .. } => {
            let done = client.discard(&which.filter(ids, target.queue), dry_run).await?;
            if target.json { json(&done)? } else { table::done(&done, "dropped") }
        }
    })
}

/// People's texts in it move no cursor, and are the same to whoever reads JSON.
fn json(value: &impl Serialize) -> Result<String, Exit> {
    Ok(terminal::json(&serde_json::to_string_pretty(value)?) + "\n")
}
