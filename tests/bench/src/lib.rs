//! Measures Postern: every figure next to one of a floor, a program of a few lines that does the
//! least that the task needs, or of a peer, taken in turn with it on the same machine.
//!
//! `tests/bench/run` builds it and starts it.
//!
//! - [`floor`]: the floors
//! - `provider`, `load`, `queue`: the provider, the clients and the broker's other side
//! - `rig`: Postern's programs and the floors, started
//! - `rows`: what is measured; `table`: what comes of it
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program for people at a terminal")]

mod effort;
pub mod floor;
mod load;
mod machine;
mod provider;
mod queue;
mod rig;
mod rows;
mod table;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use effort::Effort;
use std::path::PathBuf;

#[derive(Debug, Parser)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Measure and print the table
    Run(Run),
    /// A floor: a bare handler that publishes a form and awaits the confirm
    FloorAccept(floor::accept::Arguments),
    /// A floor: a bare loop that consumes, posts, publishes a report and acknowledges
    FloorSend(floor::send::Arguments),
}

#[derive(Debug, Args)]
struct Run {
    /// Only these groups of rows
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<rows::Group>,
    /// Shorter and fewer rounds: for comparing while one works on something
    #[arg(long)]
    quick: bool,
    /// The shortest possible: whether the harness itself works
    #[arg(long, conflicts_with = "quick")]
    smoke: bool,
    /// Peers, too: Kannel, Jasmin, RapidSMS
    #[arg(long)]
    peers: bool,
    /// Write the table into this file, between its marks
    #[arg(long)]
    write: Option<PathBuf>,
    /// The commit that is measured
    #[arg(long, default_value = "unknown")]
    commit: String,
}

/// The program `postern-bench`.
///
/// # Errors
/// What could not be measured, and why.
pub fn main() -> Result<()> {
    match Command::parse().action {
        // Its own runtime: actix's.
        Action::FloorAccept(arguments) => floor::accept::main(&arguments, || ()),
        Action::FloorSend(arguments) => runtime()?.block_on(floor::send::main(arguments, || ())),
        Action::Run(run) => runtime()?.block_on(measure(run)),
    }
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Runtime::new()?)
}

async fn measure(run: Run) -> Result<()> {
    let effort = match (run.smoke, run.quick) {
        (true, _) => Effort::SMOKE,
        (_, true) => Effort::QUICK,
        _ => Effort::FULL,
    };
    let begun = std::time::Instant::now();
    let mut table = table::Table::default();
    let bench = rig::Bench::start(effort).await?;
    for group in rows::chosen(&run.only, run.peers) {
        let from = std::time::Instant::now();
        eprintln!("--- {group:?}");
        group.measure(&bench, &mut table).await?;
        eprintln!("--- {group:?}: {:.0} s", from.elapsed().as_secs_f64());
    }
    let about = machine::about(&run.commit, &effort, begun.elapsed(), &bench.rabbit)?;
    println!("{}", table.plain());
    println!("{about}");
    if let Some(file) = &run.write {
        table::write(file, &about, &table)?;
        println!("written to {}", file.display());
    }
    Ok(())
}
