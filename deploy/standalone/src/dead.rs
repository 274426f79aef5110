//! `postern dead`: the messages that could not be sent.
//!
//! With RabbitMQ it works on the queues themselves, whatever else runs. The embedded store belongs to
//! one process: where a gateway has it, its admin port is asked (`remote`), else the store is opened
//! here.

mod desk;
mod remote;
mod table;

use crate::greeting::print;
use clap::{Args, Subcommand};
use desk::Desk;
use postern_config::Config;
use postern_service::{
    dead::{Age, Filter, Listing, Pile},
    program::Exit,
};
use postern_shared::{error::FailureClass, message::BackendName};
use serde::Serialize;
use std::{net::SocketAddr, path::PathBuf};

/// What `postern dead` can do.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Action {
    /// List them, oldest first, without numbers and texts
    List {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        place: Place,
    },
    /// Show messages whole: with the people's numbers and what they wrote
    Show {
        /// Their ids
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        place: Place,
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
        which: Which,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Drop them for good: by ids or conditions, or, with --yes, all of them
    Drop {
        /// Only these
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        which: Which,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
        /// Drop all of them
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        place: Place,
    },
}

/// Which messages. Several values of one condition are separated by commas.
#[derive(Debug, Clone, Args)]
pub(crate) struct Which {
    /// With this id
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    id: Vec<String>,
    /// To, or from, this backend
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    backend: Vec<BackendName>,
    /// Of this class: transient, throttled, permanent, config, unknown
    #[arg(long, value_name = "CLASS", value_delimiter = ',', value_parser = class)]
    class: Vec<FailureClass>,
    /// With this code: http_400, timeout, poison …
    #[arg(long, value_name = "CODE", value_delimiter = ',')]
    code: Vec<String>,
    /// Dead for longer than this: 30m, 2h, 7d
    #[arg(long, value_name = "TIME")]
    older_than: Option<Age>,
    /// Dead for less long than this
    #[arg(long, value_name = "TIME")]
    newer_than: Option<Age>,
    /// At most so many, the oldest first; list: 100 where nothing is said
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
}

/// Where the messages are, and how to tell of them.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// `dead`, or `unrouted`: messages to backends that were not configured
    #[arg(long, value_name = "QUEUE", default_value = "dead", value_parser = pile)]
    queue: Pile,
    /// One JSON object
    #[arg(long)]
    json: bool,
    /// The admin port of the gateway to ask, http://HOST:PORT, in place of the broker
    #[arg(long, value_name = "URL")]
    admin: Option<String>,
    /// A file with its admin.token
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Its admin.token
    #[arg(long, env = remote::TOKEN, hide = true, hide_env_values = true)]
    token: Option<String>,
}

fn class(name: &str) -> Result<FailureClass, String> {
    let known = FailureClass::ALL.into_iter().find(|class| class.as_str() == name);
    known.ok_or_else(|| format!("must be one of {}", FailureClass::ALL.map(FailureClass::as_str).join(", ")))
}

fn pile(name: &str) -> Result<Pile, String> {
    match name {
        "dead" => Ok(Pile::Dead),
        "unrouted" => Ok(Pile::Unrouted),
        _ => Err("must be dead or unrouted".to_owned()),
    }
}

impl Which {
    fn filter(self, ids: Vec<String>, queue: Pile) -> Filter {
        let Self { mut id, backend, class, code, older_than, newer_than, limit } = self;
        id.extend(ids);
        Filter { id, backend, class, code, older_than, newer_than, limit, queue }
    }
}

/// Does it. `admin` is where the admin port is when the configuration does not say it.
///
/// # Errors
/// [`Exit::Config`] for what the command line or the configuration can mend, [`Exit::Failed`] for the
/// rest.
pub(crate) async fn run(action: Action, config: &Config, admin: SocketAddr) -> Result<(), Exit> {
    let place = match &action {
        Action::List { place, .. } | Action::Show { place, .. } => place.clone(),
        Action::Redrive { place, .. } | Action::Drop { place, .. } => place.clone(),
    };
    if let Action::Drop { ids, which, dry_run: false, yes: false, .. } = &action
        && which.clone().filter(ids.clone(), place.queue).is_everything()
    {
        let why = "postern dead drop: every message would be dropped: name ids or conditions, or add --yes";
        return Err(Exit::Config(why.to_owned()));
    }
    let desk = Desk::open(&place, config, admin).await?;
    let done = answer(&desk, action, &place).await;
    desk.close().await;
    Ok(print(&done?)?)
}

async fn answer(desk: &Desk, action: Action, place: &Place) -> Result<String, Exit> {
    Ok(match action {
        Action::List { which, .. } => {
            let mut filter = which.filter(Vec::new(), place.queue);
            filter.limit.get_or_insert(postern_service::admin::dead::LISTED);
            let listing = desk.list(&filter).await?;
            if place.json { json(&listing)? } else { table::list(&listing) }
        }
        Action::Show { ids, .. } => {
            let mut whole = Listing::default();
            for id in &ids {
                let found = desk.show(id, place.queue).await?;
                if found.letters.is_empty() {
                    let queue = place.queue.queue();
                    return Err(Exit::Failed(anyhow::anyhow!("no message in {queue} has the id {id}")));
                }
                whole.waiting = found.waiting;
                whole.letters.extend(found.letters);
            }
            if place.json { json(&whole)? } else { table::show(&whole)? }
        }
        Action::Redrive { ids, which, dry_run, .. } => {
            let done = desk.redrive(&which.filter(ids, place.queue), dry_run).await?;
            if place.json { json(&done)? } else { table::done(&done, "put back") }
        }
        Action::Drop { ids, which, dry_run, .. } => {
            let done = desk.discard(&which.filter(ids, place.queue), dry_run).await?;
            if place.json { json(&done)? } else { table::done(&done, "dropped") }
        }
    })
}

fn json(value: &impl Serialize) -> Result<String, Exit> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}
