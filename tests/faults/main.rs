//! The fault campaign: Postern's programs under load while processes are killed, brokers crash and block,
//! networks fail, disks are full and attackers attack; and a ledger that compares what was accepted with what
//! came out. `tests/faults/run` builds and starts it.
//!
//! - `load`: the clients; `ends`: the provider and the application; `ledger`: what both report
//! - `services`, `field`: Postern's programs between them
//! - `long_run`: a million messages and all faults in one run
//! - `faults`: what fails; `hostile`: the attacks; `table`: the results
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a scenario fails by panicking, and a program for people at a terminal prints"
)]

mod ends;
mod faults;
mod field;
mod hostile;
mod ledger;
mod load;
mod long_run;
mod services;
mod table;

use clap::Parser;
use faults::{Extent, Scenario};
use futures_util::future::LocalBoxFuture;
use long_run::{LongRun, Outcome, RUNS};
use std::{
    panic::{UnwindSafe, catch_unwind},
    process::ExitCode,
    time::{Duration, Instant},
};
use table::{Row, Table};

#[derive(Debug, Parser)]
struct Arguments {
    /// How often each fault strikes in a scenario
    #[arg(long, default_value_t = 2)]
    times: usize,
    /// How many seconds each attack lasts, and how many are measured without it
    #[arg(long, default_value_t = 60)]
    attack: u64,
    /// Repeat all scenarios until this many minutes have passed
    #[arg(long, default_value_t = 0)]
    minutes: u64,
    /// One long run for each broker, with this many messages in each, instead of the scenarios
    #[arg(long)]
    messages: Option<usize>,
    /// Only faults, or long runs, whose name contains one of the given texts
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

impl Arguments {
    fn extent(&self) -> Extent {
        Extent { times: self.times, attack: Duration::from_secs(self.attack) }
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| name.contains(part.as_str()))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let problems = match arguments.messages {
        None => {
            let table = campaign(&arguments);
            println!("{table}");
            table.problems()
        }
        Some(messages) => long_runs(&arguments, messages),
    };
    for problem in &problems {
        eprintln!("postern-faults: {problem}");
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs all long runs, one after the other, and returns the violations.
fn long_runs(arguments: &Arguments, messages: usize) -> Vec<String> {
    let mut problems = Vec::new();
    for LongRun { name, run } in RUNS.iter().filter(|run| arguments.wants(run.name)) {
        let outcome = until_its_end(|| run(name, messages));
        let outcome = outcome.unwrap_or_else(|why| Outcome::failed(name, why));
        println!("{outcome}");
        problems.extend(outcome.problems());
    }
    problems
}

/// Runs the faults and then the attacks, until the time is over but at least once.
fn campaign(arguments: &Arguments) -> Table {
    let begun = Instant::now();
    let until = begun + Duration::from_secs(60 * arguments.minutes);
    let (attacks, mut table) = (hostile::lanes(arguments.extent().attack), Table::default());
    loop {
        let rows: Vec<_> =
            [faults::LANES, &attacks].into_iter().flat_map(|lanes| side_by_side(lanes, arguments)).collect();
        let is_over = rows.is_empty() || Instant::now() >= until;
        rows.into_iter().for_each(|row| table.add(row));
        if is_over {
            break;
        }
    }
    let lanes = faults::LANES.iter().chain(&attacks).copied();
    let names: Vec<_> = lanes.flatten().map(|scenario| scenario.name).collect();
    table.sort(&names);
    eprintln!("--- {:.0} s", begun.elapsed().as_secs_f64());
    table
}

/// Runs all lanes at the same time, and the scenarios of a lane one after the other.
fn side_by_side(lanes: &[&[Scenario]], arguments: &Arguments) -> Vec<Row> {
    std::thread::scope(|threads| {
        let lanes: Vec<_> = lanes.iter().map(|lane| threads.spawn(|| run(lane, arguments))).collect();
        lanes.into_iter().flat_map(|lane| lane.join().expect("a lane")).collect()
    })
}

fn run(lane: &[Scenario], arguments: &Arguments) -> Vec<Row> {
    let wanted = lane.iter().filter(|scenario| arguments.wants(scenario.name));
    let rows = wanted.map(|scenario| {
        let begun = Instant::now();
        let row = one(scenario, arguments.extent());
        let found = if row.problems.is_empty() { "" } else { ": FAILED" };
        eprintln!("--- {}: {:.0} s{found}", scenario.name, begun.elapsed().as_secs_f64());
        for problem in &row.problems {
            eprintln!("--- {}: {problem}", scenario.name);
        }
        row
    });
    rows.collect()
}

/// Runs one scenario. One that panics gets a row, too.
fn one(scenario: &Scenario, extent: Extent) -> Row {
    let row = until_its_end(|| (scenario.run)(scenario.name, extent));
    row.unwrap_or_else(|why| Row::failed(scenario.name, why))
}

/// The result of a scenario, or why it panicked.
fn until_its_end<T>(scenario: impl FnOnce() -> LocalBoxFuture<'static, T> + UnwindSafe) -> Result<T, String> {
    let tried = catch_unwind(|| {
        // The load has a thread of its own, because the scenario may block this one.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime").block_on(scenario())
    });
    tried.map_err(|panic| {
        let why = panic.downcast_ref::<String>().cloned();
        let why = why.or_else(|| panic.downcast_ref::<&str>().map(|why| (*why).to_owned()));
        why.unwrap_or_else(|| "it panicked".to_owned())
    })
}
