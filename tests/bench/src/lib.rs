//! Measures Postern: each figure is compared with that of a floor, which is a program of a few lines that does
//! the least that the task needs, or with that of a peer. Both are measured in turn on the same machine.
//!
//! `tests/bench/run` builds and starts it.
//!
//! - [`floor`]: the floors
//! - `provider`, `load`, `queue`: the provider, the clients and the other side of the broker
//! - `rig`: starts Postern's programs and the floors
//! - `rows`: the measurements; `table`: the results
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
    /// Shorter and fewer rounds, for comparisons while working on something
    #[arg(long)]
    quick: bool,
    /// The shortest possible run, which checks only that the harness works
    #[arg(long, conflicts_with = "quick")]
    smoke: bool,
    /// Also measure the peers: Kannel, Jasmin, RapidSMS
    #[arg(long)]
    peers: bool,
    /// Write the table into this file, between the two marks in it
    #[arg(long)]
    write: Option<PathBuf>,
    /// The commit that is measured
    #[arg(long, default_value = "unknown")]
    commit: String,
}

/// Runs the program `postern-bench`.
///
/// # Errors
/// If something could not be measured.
pub fn main() -> Result<()> {
    match Command::parse().action {
        // actix has a runtime of its own.
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
