//! The faults of the one process with the embedded broker, whose message log is in the broker's store.

use super::{Fault, LOG, Outcome, Stage, THINKING, fault};
use crate::{
    faults::{
        commands::{self, Command, IN_FLIGHT},
        disk,
        processes::{self, End},
    },
    field::{Field, Setup},
    table::Allowance,
};
use postern_tests::SmallDisk;

/// How many messages a mebibyte of disk holds at least, with their log: some 320 bytes each.
const MESSAGES_IN_A_MEBIBYTE: usize = 1000;

/// The process crashes.
const CRASH: &[&str] = &[
    "dispatcher → provider",
    "embedded broker → dispatcher",
    "dispatcher → webhook, callbacks",
    "an application repeats itself",
    "the provider repeats itself",
];

const FAULTS: &[Fault<()>] = &[
    fault!(
        "kill -9 of the process",
        |stage, _| processes::end_front(&mut stage.field, End::Kill),
        IN_FLIGHT,
        CRASH
    ),
    fault!(
        "SIGTERM to the process",
        |stage, _| processes::end_front(&mut stage.field, End::Drain),
        Allowance::NONE,
        &[]
    ),
    fault!(
        "full disk",
        |stage, _| disk::fill(&mut stage.field, &stage.disk),
        IN_FLIGHT,
        &["an application repeats itself", "the provider repeats itself"]
    ),
    fault!(
        "full disk, and kill -9 of the process",
        |stage, _| disk::fill_and_kill(&mut stage.field, &stage.disk),
        IN_FLIGHT,
        CRASH
    ),
    fault!(
        "a pause, and kill -9 of the process",
        |stage, time| commands::interrupt(&mut stage.field, time, Command::Pause),
        Command::Pause.allowance(true),
        CRASH
    ),
    fault!(
        "kill -9 during a cancellation",
        |stage, time| commands::interrupt(&mut stage.field, time, Command::Cancel),
        Command::Cancel.allowance(true),
        CRASH
    ),
    fault!(
        "kill -9 during a move",
        |stage, time| commands::interrupt(&mut stage.field, time, Command::Move),
        Command::Move.allowance(true),
        CRASH
    ),
];

pub(super) async fn run(name: &'static str, messages: usize) -> Outcome {
    let mebibytes = disk::MEBIBYTES as usize + messages / MESSAGES_IN_A_MEBIBYTE;
    let disk = match SmallDisk::mount(u32::try_from(mebibytes).unwrap_or(u32::MAX)) {
        Ok(disk) => disk,
        Err(why) => return Outcome::failed(name, format!("no tmpfs can be mounted: {why}")),
    };
    let url = format!("embedded:{}", disk.path().join("data").display());
    let setup = Setup::new(&url).backend("y").sections(LOG).thinking(THINKING);
    let stage = Stage { field: Field::gateway(setup).await, disk, broker: () };
    super::run(name, messages, stage, FAULTS).await
}

#[cfg(test)]
pub(super) fn windows() -> impl Iterator<Item = &'static str> {
    FAULTS.iter().flat_map(|fault| fault.windows.iter().copied())
}
