//! `postern pause`, `postern resume`, `postern cancel`, which apply to all processes; and `postern queue`.
//!
//! With RabbitMQ, these commands are published to the control stream from here, even while gateways run.
//! The embedded store belongs to one process: if a gateway has it open, that gateway's admin port is asked,
//! else the store is opened here.

mod client;
mod target;
mod text;

use crate::{
    confirm::{can_ask, is_confirmed},
    greeting::{count, print},
};
use clap::{Args, Subcommand};
use client::CommandClient;
use jiff::Timestamp;
use postern_config::Config;
use postern_service::{
    control::{CancelCommand, MoveCommand, PlainCommand},
    moment,
    program::Exit,
};
use postern_shared::{message::Priority, terminal};
use serde::Serialize;
use target::CommandTarget;

/// The options of `postern pause` and `postern resume`.
#[derive(Debug, Clone, Args)]
pub(crate) struct BackendArguments {
    /// The backend
    #[arg(value_name = "BACKEND")]
    backend: String,
    /// Only print what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: CommandTarget,
}

/// The options of `postern cancel`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CancelArguments {
    /// The backend
    #[arg(long, value_name = "NAME")]
    backend: String,
    /// Only messages created at this time or later: 2026-11-27T08:00:00Z, or 2h for two hours ago; any age if
    /// absent
    #[arg(long, value_name = "TIME", value_parser = moment::of_now)]
    since: Option<Timestamp>,
    /// Only messages created at this time or earlier; now if absent. Later messages are never cancelled
    #[arg(long, value_name = "TIME", value_parser = moment::of_now)]
    until: Option<Timestamp>,
    /// Only messages of this priority: bulk or normal
    #[arg(long, value_name = "PRIORITY", value_parser = lane)]
    priority: Option<Priority>,
    /// Only print what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: CommandTarget,
}

/// What `postern queue` can do.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum QueueCommand {
    /// List each queue with its messages and consumers, including queues of backends that are no longer
    /// configured
    List {
        #[command(flatten)]
        target: CommandTarget,
    },
    /// Move messages to another backend, if their backend was renamed, was removed or is down
    ///
    /// Messages of both priorities are moved. If this command is killed, nothing is lost; on RabbitMQ, up to
    /// 512 messages may be duplicated under the same ids, because each message is stored in the new queue
    /// before it leaves the old one. Messages that wait for a retry return to the old queue when they are
    /// due: move again then.
    Move {
        /// The backend to move messages from; it need not be configured
        #[arg(value_name = "FROM")]
        from: String,
        /// The backend to move messages to
        #[arg(value_name = "TO")]
        to: String,
        /// Only print what would be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        target: CommandTarget,
    },
    /// Permanently drop the messages in a queue, without a report (`postern cancel` reports each recipient)
    Purge {
        /// A backend, for both of its queues, or the name of a queue that `postern queue list` shows, except
        /// the queues in which retries wait
        #[arg(value_name = "NAME")]
        name: String,
        /// Only print what would be done
        #[arg(long)]
        dry_run: bool,
        /// Do not ask for confirmation on a terminal
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        target: CommandTarget,
    },
}

/// An operator's command.
#[derive(Debug)]
pub(crate) enum OperatorCommand {
    /// `postern pause`
    Pause(BackendArguments),
    /// `postern resume`
    Resume(BackendArguments),
    /// `postern cancel`
    Cancel(CancelArguments),
    /// `postern queue`
    Queue(QueueCommand),
}

impl OperatorCommand {
    fn target(&self) -> &CommandTarget {
        match self {
            Self::Pause(arguments) | Self::Resume(arguments) => &arguments.target,
            Self::Cancel(arguments) => &arguments.target,
            Self::Queue(
                QueueCommand::List { target }
                | QueueCommand::Move { target, .. }
                | QueueCommand::Purge { target, .. },
            ) => target,
        }
    }
}

/// Carries out `command`. A gateway on this machine has its admin port at `admin_url`.
///
/// # Errors
/// [`Exit::Config`] if another command line or configuration would help, else [`Exit::Failed`].
pub(crate) async fn run(command: OperatorCommand, config: &Config, admin_url: &str) -> Result<(), Exit> {
    let target = command.target().clone();
    let by = target.given_by.name();
    let client = CommandClient::open(&target, config, admin_url).await?;
    let done = answer(&client, command, &by).await;
    client.close().await;
    Ok(print(&done?)?)
}

async fn answer(client: &CommandClient, command: OperatorCommand, by: &str) -> Result<String, Exit> {
    let json = command.target().json;
    Ok(match command {
        OperatorCommand::Pause(BackendArguments { backend, dry_run, .. }) => {
            let command = PlainCommand { dry_run, by: Some(by.to_owned()) };
            let done = client.pause(&backend, &command, by).await?;
            if json { as_json(&done)? } else { text::paused(&done) }
        }
        OperatorCommand::Resume(BackendArguments { backend, dry_run, .. }) => {
            let command = PlainCommand { dry_run, by: Some(by.to_owned()) };
            let done = client.resume(&backend, &command, by).await?;
            if json { as_json(&done)? } else { text::paused(&done) }
        }
        OperatorCommand::Cancel(CancelArguments { backend, since, until, priority, dry_run, .. }) => {
            let command = CancelCommand { since, until, priority, dry_run, by: Some(by.to_owned()) };
            let done = client.cancel(&backend, &command, by).await?;
            if json { as_json(&done)? } else { text::cancelled(&done) }
        }
        OperatorCommand::Queue(QueueCommand::List { .. }) => {
            let list = client.queues().await?;
            if json { as_json(&list)? } else { text::queues(&list) }
        }
        OperatorCommand::Queue(QueueCommand::Move { from, to, dry_run, .. }) => {
            let command = MoveCommand { to, dry_run, by: Some(by.to_owned()) };
            let done = client.move_messages(&from, &command, by).await?;
            if json { as_json(&done)? } else { text::moved(&done) }
        }
        OperatorCommand::Queue(QueueCommand::Purge { name, dry_run, yes, .. }) => {
            let mut command = PlainCommand { dry_run: true, by: Some(by.to_owned()) };
            // A script that names the queue means it.
            if !dry_run && !yes && can_ask() {
                let messages = count(client.purge(&name, &command, by).await?.messages, "message");
                let question = format!("Permanently drop {messages} of {}?", terminal::plain(&name));
                if !is_confirmed(&question).await? {
                    return Err(Exit::Failed(anyhow::anyhow!("nothing was dropped")));
                }
            }
            command.dry_run = dry_run;
            let done = client.purge(&name, &command, by).await?;
            if json { as_json(&done)? } else { text::purged(&done) }
        }
    })
}

/// JSON in which what others wrote cannot move the terminal's cursor.
fn as_json(value: &impl Serialize) -> Result<String, Exit> {
    Ok(terminal::json(&serde_json::to_string_pretty(value)?) + "\n")
}

fn lane(name: &str) -> Result<Priority, String> {
    match name {
        "normal" => Ok(Priority::Normal),
        "bulk" => Ok(Priority::Bulk),
        _ => Err("must be normal or bulk".to_owned()),
    }
}
