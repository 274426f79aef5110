//! `postern log forget`, which erases a person from the message log.

use super::{ForgetArguments, as_json, export::Pages};
use crate::{
    confirm::{can_ask, is_confirmed, say},
    greeting::{count, print},
};
use postern_service::{
    message_log::{ListOrder, MessageLog, MessageQuery},
    program::Exit,
};
use postern_shared::{
    clock::{self, Written},
    terminal::plain,
};
use serde_json::json;

/// Erases the person, on a terminal only after a confirmation, and prints how many messages were affected.
///
/// # Errors
/// The log cannot be read or written; [`Exit::Failed`]: the erasure is not confirmed.
pub(super) async fn run(log: &dyn MessageLog, arguments: &ForgetArguments) -> Result<(), Exit> {
    if arguments.dry_run {
        return tell(arguments, counted(log, arguments).await?);
    }
    // A script that names the person means it.
    if !arguments.yes && can_ask() {
        let messages = counted(log, arguments).await?;
        let question =
            format!("This permanently erases the person from {}. Continue?", count(messages, "message"));
        if !is_confirmed(&question).await? {
            return Err(Exit::Failed(anyhow::anyhow!("nothing was erased")));
        }
    }
    let messages = log.forget(&arguments.identity).await?;
    if messages > 0 {
        let (now, by) = (Written(clock::now()), plain(&arguments.given_by.name()));
        say(&format!("{now} a person was erased from {} by {by}\n", count(messages, "message")));
    }
    tell(arguments, messages)
}

/// How many messages the person sent or received.
async fn counted(log: &dyn MessageLog, arguments: &ForgetArguments) -> Result<u64, Exit> {
    let identity = Some(arguments.identity.clone());
    let query = MessageQuery { identity, order: ListOrder::Oldest, ..MessageQuery::default() };
    let (mut pages, mut messages) = (Pages::new(log, query, u64::MAX), 0);
    while let Some(page) = pages.next().await? {
        messages += page.len() as u64;
    }
    Ok(messages)
}

fn tell(arguments: &ForgetArguments, messages: u64) -> Result<(), Exit> {
    let dry_run = arguments.dry_run;
    let text = if arguments.json {
        as_json(&json!({"messages": messages, "dry_run": dry_run}))?
    } else {
        match (messages, dry_run) {
            (0, _) => {
                "nothing to erase: the log has no message with this identity. Spell it as the log does: \
                 15551234567 does not find +15551234567\n"
                    .to_owned()
            }
            (_, true) => format!("would be erased from {}\n", count(messages, "message")),
            (_, false) => format!("erased from {}\n", count(messages, "message")),
        }
    };
    Ok(print(&text)?)
}
