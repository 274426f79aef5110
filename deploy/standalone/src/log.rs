//! `postern log`: what happened to messages, and what people wrote.
//!
//! It reads the message log directly, even while gateways run, and asks no gateway.

mod arguments;
mod export;
mod forget;
mod text;

use crate::{given_by::GivenBy, greeting::print};
use arguments::LogFilterArguments;
use clap::{Args, Subcommand};
use postern_config::{Config, TO_SWITCH_THE_LOG_ON};
use postern_service::{
    message_log::{self, Access, ListOrder, MessageLog},
    program::Exit,
};
use postern_shared::{
    message::{Identity, MessageId},
    terminal::{self, plain},
};
use serde::Serialize;
use serde_json::json;

/// How many messages `postern log list` shows without `--limit`.
const LISTED: u64 = 100;
/// The most ids that an error names if several begin alike.
const LISTED_IDS: usize = 5;

/// What `postern log` can do.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum LogAction {
    /// List messages, newest first, without numbers and texts
    List {
        #[command(flatten)]
        which: LogFilterArguments,
        /// Include people's numbers and the texts
        #[arg(long)]
        show: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Show one message in full: the people's numbers, the text, and what happened
    Show {
        /// The message's id, or the beginning of the id
        #[arg(value_name = "ID")]
        id: String,
        /// Print one JSON object, the same as GET /v1/messages/ID
        #[arg(long)]
        json: bool,
    },
    /// Write messages in full, oldest first, one JSON object per line
    Export {
        #[command(flatten)]
        which: LogFilterArguments,
        /// Include what happened to each message
        #[arg(long)]
        events: bool,
        /// Changes nothing: the output is always JSON
        #[arg(long)]
        json: bool,
    },
    /// Erase a person from the log: each message that only this person sent or received, and the person's
    /// part of other messages
    ///
    /// Messages that still wait to be sent, and reports and dead letters in queues, are not part of the log.
    Forget(ForgetArguments),
}

/// The options of `postern log forget`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ForgetArguments {
    /// The person's identity, as written in messages
    #[arg(long, value_name = "NUMBER")]
    identity: Identity,
    /// Only print how many messages would be affected
    #[arg(long)]
    dry_run: bool,
    /// Do not ask for confirmation on a terminal
    #[arg(long)]
    yes: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    given_by: GivenBy,
}

/// Carries out `action`.
///
/// # Errors
/// [`Exit::Config`] if another command line or configuration would help, else [`Exit::Failed`].
pub(crate) async fn run(action: LogAction, config: &Config) -> Result<(), Exit> {
    let access = match &action {
        LogAction::Forget(_) => Access::Write,
        LogAction::List { .. } | LogAction::Show { .. } | LogAction::Export { .. } => Access::Read,
    };
    let Some(log) = message_log::open_beside(config, access).await? else {
        return Err(Exit::Config(format!(
            "log: the message log is off, so nothing is recorded about messages: {TO_SWITCH_THE_LOG_ON}"
        )));
    };
    let done = answer(log.as_ref(), action).await;
    log.close().await;
    done
}

async fn answer(log: &dyn MessageLog, action: LogAction) -> Result<(), Exit> {
    match action {
        LogAction::List { which, show, json } => Ok(print(&list(log, which, show, json).await?)?),
        LogAction::Show { id, json } => Ok(print(&shown(log, &id, json).await?)?),
        LogAction::Export { which, events, json: _always } => export::run(log, which, events).await,
        LogAction::Forget(arguments) => forget::run(log, &arguments).await,
    }
}

/// The messages that match, as a table or as JSON; numbers and texts only with `show`.
async fn list(
    log: &dyn MessageLog,
    which: LogFilterArguments,
    show: bool,
    json: bool,
) -> Result<String, Exit> {
    let most = which.limit().unwrap_or(LISTED);
    let (mut pages, mut found) = (export::Pages::new(log, which.query(ListOrder::Newest), most), Vec::new());
    while let Some(page) = pages.next().await? {
        found.extend(page);
    }
    let more = pages.has_more();
    if !json {
        return Ok(text::list(&found, show, more));
    }
    let found = found.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
    let found: Vec<_> = if show { found } else { found.into_iter().map(text::without_people).collect() };
    as_json(&json!({"messages": found, "more": more}))
}

/// The message whose id begins with `id`, as text or as JSON.
async fn shown(log: &dyn MessageLog, id: &str, json: bool) -> Result<String, Exit> {
    let id = whole_id(log, id).await?;
    let Some(message) = log.message(id).await? else {
        return Err(Exit::Failed(anyhow::anyhow!(
            "the message log does not contain message {id}, or no longer contains it"
        )));
    };
    if json { as_json(&message) } else { Ok(text::history(&message)) }
}

/// The only id in the log that begins with `id`.
///
/// # Errors
/// [`Exit::Config`]: `id` cannot begin an id, or several ids begin with it. [`Exit::Failed`]: none does.
async fn whole_id(log: &dyn MessageLog, id: &str) -> Result<MessageId, Exit> {
    if let Ok(whole) = id.parse() {
        return Ok(whole);
    }
    let shown = plain(id);
    let Some((first, last)) = between(id) else {
        let why = "is neither an id nor the beginning of one: `postern log list` shows the ids";
        return Err(Exit::Config(format!("{shown} {why}")));
    };
    match log.ids(first, last, LISTED_IDS).await?.as_slice() {
        [] => Err(Exit::Failed(anyhow::anyhow!(
            "no message in the message log has an id that begins with {shown}"
        ))),
        [only] => Ok(*only),
        several => {
            let ids: Vec<_> = several.iter().map(ToString::to_string).collect();
            let ids = ids.join(", ");
            Err(Exit::Config(format!("{shown} is the beginning of several ids: {ids}; give more of it")))
        }
    }
}

/// The lowest and the highest id that begin with `beginning`.
fn between(beginning: &str) -> Option<(MessageId, MessageId)> {
    let digits = beginning.replace('-', "");
    let filled =
        |with: &str| format!("{digits}{}", with.repeat(32_usize.saturating_sub(digits.len()))).parse().ok();
    if digits.is_empty() { None } else { Some((filled("0")?, filled("f")?)) }
}

/// JSON in which people's texts cannot move the terminal's cursor; a JSON reader gets the same value.
fn as_json(value: &impl Serialize) -> Result<String, Exit> {
    Ok(terminal::json(&serde_json::to_string_pretty(value)?) + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_means_all_that_begin_so() {
        for (beginning, first, last) in [
            ("0199b2a5-1", "0199b2a5-1000-0000-0000-000000000000", "0199b2a5-1fff-ffff-ffff-ffffffffffff"),
            ("0", "00000000-0000-0000-0000-000000000000", "0fffffff-ffff-ffff-ffff-ffffffffffff"),
        ] {
            let (low, high) = between(beginning).unwrap();
            assert_eq!(
                (low.to_string(), high.to_string()),
                (first.to_owned(), last.to_owned()),
                "{beginning}"
            );
        }
        for none in ["", "-", "xyz", "0199b2a5\u{e9}", &"0".repeat(33)] {
            assert!(between(none).is_none(), "{none}");
        }
    }
}
