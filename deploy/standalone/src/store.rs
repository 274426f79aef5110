//! `postern store`, which checks the store, copies it, or shows its sizes. All of this also works while the
//! store's process runs, and does not hold that process up.

use crate::greeting::{count, print};
use anyhow::anyhow;
use clap::{Args, Subcommand};
use postern_config::Config;
use postern_service::program::Exit;
use postern_shared::terminal;
use postern_store::{
    FILE,
    maintenance::{self, QueueInfo, StoreInfo},
    message_log::HashKey,
};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// What `postern store` can do with the embedded store, or with the spool if the broker is RabbitMQ.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum StoreAction {
    /// Read the whole store and check it: exit 0 if it is intact, or exit 1 with what is wrong
    Check(Format),
    /// Copy a consistent snapshot of the store into a new file, and check the copy
    ///
    /// To restore a copy, put it as postern.db into the folder that broker.url names. The folder must contain
    /// nothing else, except the store's log-hash.key if the log keeps hashes. The copy does not contain this key.
    Backup {
        /// The new file; it must not exist yet
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        format: Format,
    },
    /// Show sizes, and how many messages are in each queue
    Info(Format),
}

/// The form of the output.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Format {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Carries out `action` on the store that `config` names.
///
/// # Errors
/// [`Exit::Config`] if `config` names no store; [`Exit::Failed`] if the store is damaged, does not exist,
/// or cannot be read or copied.
pub(crate) fn run(action: &StoreAction, config: &Config) -> Result<(), Exit> {
    let folder = folder(config)?;
    match action {
        StoreAction::Check(format) => check(&folder, *format),
        StoreAction::Backup { file, format } => {
            let bytes = maintenance::backup(&folder, file)?;
            // A copy of the key next to the copy would make its hashes readable for anyone who gets the folder.
            let key = Some(HashKey::file_in(&folder)).filter(|key| key.exists());
            let done = json!({ "store": folder, "backup": file, "bytes": bytes, "key_file": key });
            let mut text =
                format!("{}: {bytes} bytes, a copy of the store in {}\n", file.display(), folder.display());
            if let Some(key) = &key {
                let _ = writeln!(
                    text,
                    "the copy does not contain the key of the log's hashes: keep a copy of {} in another safe \
                     place; to restore, put it next to postern.db",
                    key.display()
                );
            }
            tell(*format, &done, text)
        }
        StoreAction::Info(format) => {
            let info = maintenance::info(&folder)?;
            tell(*format, &as_json(&folder, &info), as_text(&folder, &info))
        }
    }
}

/// The folder of the embedded broker or of the spool.
fn folder(config: &Config) -> Result<PathBuf, Exit> {
    let embedded = config.broker.url.expose().strip_prefix("embedded:");
    embedded.or_else(|| config.ingress.spool.dir()).map(PathBuf::from).ok_or_else(|| {
        Exit::Config(
            "postern store: there is no store: the messages are in RabbitMQ (see `postern queue list`), and \
             ingress.spool is off"
                .to_owned(),
        )
    })
}

fn check(folder: &Path, format: Format) -> Result<(), Exit> {
    let problems = maintenance::check(folder)?;
    let mut text: String = problems.iter().map(|problem| format!("{}\n", terminal::plain(problem))).collect();
    if problems.is_empty() {
        let _ = writeln!(text, "the store in {} is intact", folder.display());
    }
    tell(format, &json!({ "store": folder, "whole": problems.is_empty(), "problems": problems }), text)?;
    if problems.is_empty() {
        return Ok(());
    }
    Err(Exit::Failed(anyhow!(
        "the store in {} is damaged ({}): stop its process, keep a copy of the folder, check the disk, and \
         replace {FILE} with a backup; without a backup, `sqlite3 {FILE} .recover` reads what is readable",
        folder.display(),
        count(problems.len(), "problem"),
    )))
}

fn tell(format: Format, value: &Value, text: String) -> Result<(), Exit> {
    let said = if format.json { terminal::json(&serde_json::to_string_pretty(value)?) + "\n" } else { text };
    Ok(print(&said)?)
}

fn as_json(folder: &Path, info: &StoreInfo) -> Value {
    let queue = |QueueInfo { name, messages, bytes, delayed }: &QueueInfo| json!({ "name": name, "messages": messages, "bytes": bytes, "delayed": delayed });
    json!({
        "store": folder,
        "schema": info.schema,
        "file_bytes": info.file_bytes,
        "free_bytes": info.free_bytes,
        "log_bytes": info.log_bytes,
        "queues": info.queues.iter().map(queue).collect::<Vec<_>>(),
    })
}

fn as_text(folder: &Path, info: &StoreInfo) -> String {
    let StoreInfo { schema, file_bytes, free_bytes, log_bytes, queues } = info;
    let mut text = format!(
        "{}: schema {schema}, {file_bytes} bytes, of which {free_bytes} are free, and {log_bytes} in the write-ahead log\n",
        folder.join(FILE).display()
    );
    let widest = queues.iter().map(|queue| queue.name.len()).max().unwrap_or_default().max(5);
    let _ = writeln!(text, "{:widest$}  {:>9}  {:>11}  {:>9}", "QUEUE", "MESSAGES", "BYTES", "DELAYED");
    for QueueInfo { name, messages, bytes, delayed } in queues {
        let name = terminal::plain(name);
        let _ = writeln!(text, "{name:widest$}  {messages:>9}  {bytes:>11}  {delayed:>9}");
    }
    text
}
