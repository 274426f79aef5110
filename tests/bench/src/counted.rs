//! `postern` and the floors with an allocator that counts: the last line of their standard output says what they
//! allocated.
#![allow(clippy::print_stdout, reason = "its output is what it is for")]

use clap::Parser;
use postern_bench::floor;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use std::{alloc::System, process::ExitCode};

#[global_allocator]
static COUNTING: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[derive(Debug, Parser)]
enum Floor {
    FloorAccept(floor::accept::Arguments),
    FloorSend(floor::send::Arguments),
}

fn main() -> ExitCode {
    let is_floor = std::env::args().nth(1).is_some_and(|first| first.starts_with("floor-"));
    if !is_floor {
        let code = postern::Gateway::new().main();
        told();
        return code;
    }
    let ended = match Floor::parse() {
        Floor::FloorAccept(arguments) => floor::accept::main(&arguments, told),
        Floor::FloorSend(arguments) => tokio::runtime::Runtime::new()
            .map_err(anyhow::Error::from)
            .and_then(|runtime| runtime.block_on(floor::send::main(arguments, told))),
    };
    if ended.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn told() {
    let stats = COUNTING.stats();
    println!("@ {} {}", stats.bytes_allocated, stats.allocations);
}
