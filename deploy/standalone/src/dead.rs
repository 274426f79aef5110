//! `postern dead`: the messages that could not be sent.
//!
//! With RabbitMQ, it works on the queues directly, even while gateways run. The embedded store belongs to
//! one process: if a gateway has it open, that gateway's admin port is asked (`remote`), else the store is
//! opened here.

mod arguments;
mod client;
mod remote;
mod table;

use crate::{
    confirm::{can_ask, is_confirmed, say},
    greeting::{count, print},
};
use arguments::{DeadFilterArguments, DeadTarget};
use clap::Subcommand;
use client::DeadLetterClient;
use postern_config::Config;
use postern_service::{
    dead::{DeadQueue, Done, Filter, Listing},
    program::Exit,
};
use postern_shared::{
    clock::{self, Written},
    terminal,
};
use serde::Serialize;

/// What `postern dead` can do.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum DeadAction {
    /// List dead letters, oldest first, without numbers and texts
    List {
        #[command(flatten)]
        which: DeadFilterArguments,
        #[command(flatten)]
        target: DeadTarget,
    },
    /// Show dead letters in full, with people's numbers and texts
    Show {
        /// Ids, beginnings of ids (at least 4 characters), or the handles that `list` shows if there is no id
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        target: DeadTarget,
    },
    /// Redrive dead letters: put them back into the queues that they came from, to be sent again from the
    /// first attempt
    ///
    /// Without ids or conditions (--limit is none), it asks for confirmation on a terminal; elsewhere it needs
    /// --yes. A message keeps its id. If this command is interrupted, nothing is lost; on RabbitMQ, a crash can
    /// duplicate up to 512 messages. A message that has expired (expires_at) is dead-lettered again at once.
    Redrive {
        /// Only the messages with these ids
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        which: DeadFilterArguments,
        /// Only print what would be done
        #[arg(long)]
        dry_run: bool,
        /// Redrive all messages, or the oldest with --limit, without asking for confirmation
        #[arg(long, visible_alias = "all")]
        yes: bool,
        #[command(flatten)]
        target: DeadTarget,
    },
    /// Permanently drop dead letters
    ///
    /// Without ids or conditions (--limit is none), it asks for confirmation on a terminal; elsewhere it needs
    /// --yes.
    Drop {
        /// Only the messages with these ids
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        which: DeadFilterArguments,
        /// Only print what would be done
        #[arg(long)]
        dry_run: bool,
        /// Drop all messages, or the oldest with --limit, without asking for confirmation
        #[arg(long, visible_alias = "all")]
        yes: bool,
        #[command(flatten)]
        target: DeadTarget,
    },
}

/// Carries out `action`. A gateway on this machine has its admin port at `admin_url`.
///
/// # Errors
/// [`Exit::Config`] if another command line or configuration would help, else [`Exit::Failed`].
pub(crate) async fn run(action: DeadAction, config: &Config, admin_url: &str) -> Result<(), Exit> {
    let target = match &action {
        DeadAction::List { target, .. } | DeadAction::Show { target, .. } => target.clone(),
        DeadAction::Redrive { target, .. } | DeadAction::Drop { target, .. } => target.clone(),
    };
    let everything = action.means_everything(target.queue);
    if let Some(Everything { command: ChangingCommand { name, done }, limit }) = everything
        && !can_ask()
    {
        let which = match limit {
            None => "every message".to_owned(),
            Some(limit) => format!("the oldest messages, at most {limit},"),
        };
        return Err(Exit::Config(format!(
            "postern dead {name}: {which} would be {done}: give ids or conditions, or add --yes"
        )));
    }
    let client = DeadLetterClient::open(&target, config, admin_url).await?;
    let done = async {
        if let Some(everything) = everything {
            confirm(&client, everything, target.queue).await?;
        }
        answer(&client, action, &target).await
    };
    let done = done.await;
    client.close().await;
    Ok(print(&done?)?)
}

/// A command that changes something, in words.
#[derive(Debug, Clone, Copy)]
struct ChangingCommand {
    name: &'static str,
    /// The past participle, for what happened to the messages.
    done: &'static str,
}

/// A command without a condition or `--yes`, which would change every message, or the oldest up to a limit.
#[derive(Debug, Clone, Copy)]
struct Everything {
    command: ChangingCommand,
    limit: Option<u64>,
}

const REDRIVE: ChangingCommand = ChangingCommand { name: "redrive", done: "redriven" };
const DROP: ChangingCommand = ChangingCommand { name: "drop", done: "dropped" };

impl DeadAction {
    /// What must be confirmed before this command changes `queue`. `None`: nothing.
    fn means_everything(&self, queue: DeadQueue) -> Option<Everything> {
        let (command, ids, which) = match self {
            Self::Redrive { ids, which, dry_run: false, yes: false, .. } => (REDRIVE, ids, which),
            Self::Drop { ids, which, dry_run: false, yes: false, .. } => (DROP, ids, which),
            _ => return None,
        };
        let filter = which.clone().filter(ids.clone(), queue);
        filter.is_everything().then_some(Everything { command, limit: filter.limit })
    }
}

/// Asks whether the command is meant for `everything` in `queue`.
///
/// # Errors
/// The answer is no, or there is none.
async fn confirm(client: &DeadLetterClient, everything: Everything, queue: DeadQueue) -> Result<(), Exit> {
    let Everything { command, limit } = everything;
    let filter = Filter { queue, limit: Some(1), ..Filter::default() };
    let waiting = client.list(&filter).await?.waiting;
    let number = limit.map_or(waiting, |limit| limit.min(waiting));
    let (queue, done) = (queue.queue(), command.done);
    let question = format!("{number} of {waiting} messages in {queue} would be {done}. Continue?");
    if is_confirmed(&question).await? {
        return Ok(());
    }
    Err(Exit::Failed(anyhow::anyhow!("nothing was {}", command.done)))
}

/// Writes to stderr what a command did, and who gave it: the broker keeps no record of it. A gateway that
/// was asked logs it itself.
fn trace(client: &DeadLetterClient, command: ChangingCommand, done: &Done, target: &DeadTarget) {
    if let (DeadLetterClient::Here { .. }, false) = (client, done.dry_run) {
        let by = terminal::plain(&target.given_by.name());
        let (now, queue) = (Written(clock::now()), target.queue.queue());
        let (messages, stay, what) = (count(done.done, "message"), done.stay.len(), command.done);
        say(&format!(
            "{now} {messages} of {queue} {what} by {by}, {stay} could not be {what} and stay in the queue\n"
        ));
    }
}

async fn answer(client: &DeadLetterClient, action: DeadAction, target: &DeadTarget) -> Result<String, Exit> {
    Ok(match action {
        DeadAction::List { which, .. } => {
            let mut filter = which.filter(Vec::new(), target.queue);
            filter.limit.get_or_insert(postern_service::admin::dead::LISTED);
            let listing = client.list(&filter).await?;
            if target.json { json(&listing)? } else { table::list(&listing) }
        }
        DeadAction::Show { ids, .. } => {
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
        DeadAction::Redrive { ids, which, dry_run, .. } => {
            let filter = which.filter(ids, target.queue);
            let done = client.redrive(&filter, dry_run).await?;
            found(&filter, &done)?;
            trace(client, REDRIVE, &done, target);
            if target.json { json(&done)? } else { table::done(&done, REDRIVE.done) }
        }
        DeadAction::Drop { ids, which, dry_run, .. } => {
            let filter = which.filter(ids, target.queue);
            let done = client.discard(&filter, dry_run).await?;
            found(&filter, &done)?;
            trace(client, DROP, &done, target);
            if target.json { json(&done)? } else { table::done(&done, DROP.done) }
        }
    })
}

/// Checks that a command that names ids has matched a message.
///
/// # Errors
/// No message has any id of `filter`.
fn found(filter: &Filter, done: &Done) -> Result<(), Exit> {
    if filter.id.is_empty() || done.matched > 0 {
        return Ok(());
    }
    let (queue, ids) = (filter.queue.queue(), filter.id.join(", "));
    Err(Exit::Failed(anyhow::anyhow!("no message in {queue} has the id {}", terminal::plain(&ids))))
}

/// JSON in which people's texts cannot move the terminal's cursor; a JSON reader gets the same value.
fn json(value: &impl Serialize) -> Result<String, Exit> {
    Ok(terminal::json(&serde_json::to_string_pretty(value)?) + "\n")
}
