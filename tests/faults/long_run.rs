//! One long run for each broker: a load of very many messages, during which every fault that this broker can
//! have strikes in turn. Then the ledger and the message log must agree about every message.
//!
//! - `embedded`, `rabbitmq`: the faults of each broker; `table`: the results

mod embedded;
mod rabbitmq;
mod table;

use crate::{field::Field, table::Allowance};
use futures_util::future::LocalBoxFuture;
use postern_tests::{SmallDisk, usage};
use std::time::{Duration, Instant};
pub(crate) use table::Outcome;
use table::Part;

/// How many messages are accepted between two strikes, at least: few enough strikes that all of them together
/// duplicate at most one message in a thousand.
const EVERY: usize = 20_000;
/// One in this many accepted messages may come twice, if faults strike no more often than that.
const ONE_DOUBLED_IN: usize = 1000;
/// How long the provider and the application take to answer.
const THINKING: Duration = Duration::from_millis(2);
/// Large enough that nothing is removed from the message log before the end.
const LOG: &str = "[log]\nlevel = \"warn\"\nmax_bytes = 68719476736\n";
const MIB: u64 = 1024 * 1024;

/// A long run: its name, and the function that runs it with a number of messages.
#[derive(Clone, Copy)]
pub(crate) struct LongRun {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&'static str, usize) -> LocalBoxFuture<'static, Outcome>,
}

/// All long runs, one after the other.
pub(crate) const RUNS: &[LongRun] = &[
    LongRun { name: "the embedded broker", run: |name, messages| Box::pin(embedded::run(name, messages)) },
    LongRun {
        name: "RabbitMQ, the log in SQLite",
        run: |name, messages| Box::pin(rabbitmq::with_sqlite(name, messages)),
    },
    LongRun {
        name: "RabbitMQ, the log in PostgreSQL",
        run: |name, messages| Box::pin(rabbitmq::with_postgres(name, messages)),
    },
];

/// What a long run works with.
struct Stage<B> {
    field: Field,
    /// The disk under the embedded broker or the spool.
    disk: SmallDisk,
    broker: B,
}

/// One fault of a long run.
struct Fault<B: 'static> {
    name: &'static str,
    /// Lets the fault strike for the nth time, and waits until everything flows again.
    strike: for<'s> fn(&'s mut Stage<B>, usize) -> LocalBoxFuture<'s, ()>,
    allowed: Allowance,
    /// The windows that allow it: the first cells of the rows of "When a message may come twice" in
    /// docs/guarantees.md.
    windows: &'static [&'static str],
}

/// A fault of a long run: `fault!("what happens", |stage, time| function(…), allowance, windows)`.
macro_rules! fault {
    ($name:literal, |$stage:ident, $time:pat_param| $strike:expr, $allowed:expr, $windows:expr) => {
        $crate::long_run::Fault {
            name: $name,
            strike: |$stage, $time| Box::pin($strike),
            allowed: $allowed,
            windows: $windows,
        }
    };
}
use fault;

/// Sends `messages` messages through `stage`, with all of `faults` in turn.
async fn run<B>(name: &'static str, messages: usize, mut stage: Stage<B>, faults: &[Fault<B>]) -> Outcome {
    // Each fault strikes equally often, and at least once.
    let strikes = (messages / EVERY / faults.len()).max(1) * faults.len();
    for (strike, fault) in faults.iter().cycle().take(strikes).enumerate() {
        stage.field.goes_on_until((strike + 1) * messages / (strikes + 1)).await;
        let begun = Instant::now();
        (fault.strike)(&mut stage, strike / faults.len()).await;
        let accepted: usize = stage.field.ledger.counts().accepted.iter().sum();
        eprintln!(
            "--- {name}: {} of {strikes}: {}: {:.0} s, {accepted} messages",
            strike + 1,
            fault.name,
            begun.elapsed().as_secs_f64()
        );
    }
    stage.field.goes_on_until(messages).await;
    let memory = |program: &u32| usage::memory(*program).now / MIB;
    let programs = stage.field.programs().iter().map(memory).collect();
    let Stage { field, disk, broker } = stage;
    let settled = field.settled(name).await;
    let ours = usage::memory(std::process::id()).now / MIB;
    drop((disk, broker));
    let parts = faults.iter().enumerate().map(|(number, fault)| {
        let of_it = settled.verdict.strikes.iter().skip(number).step_by(faults.len());
        Part::new((fault.name, fault.allowed, fault.windows), of_it)
    });
    let mut outcome = Outcome::new(name, parts.collect(), settled);
    outcome.memory = (programs, ours);
    if strikes * EVERY <= messages {
        outcome.doubles_at_most_one_in(ONE_DOUBLED_IN);
    }
    outcome
}
