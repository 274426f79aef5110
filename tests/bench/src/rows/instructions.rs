//! Instructions that Postern itself needs for a message, by callgrind, compared with the committed ones. It is
//! the same count as in `tests/bench/guard`.

use crate::table::{Row, Table, Target};
use anyhow::{Context, Result, ensure};
use tokio::process::Command;

/// The growth that the guard allows.
const GROWTH: f64 = 1.05;
/// The messages in a short run and in a long one; the difference leaves out the start.
const TIMES: (u32, u32) = (20, 220);
const COMMITTED: &str = include_str!("../../instructions");

pub(super) async fn measure(table: &mut Table) -> Result<()> {
    let program = std::env::current_exe()?.with_file_name("postern-pure");
    let profile =
        if program.parent().is_some_and(|folder| folder.ends_with("debug")) { "dev" } else { "release" };
    for (path, what) in [("accept", "form POST accepted"), ("send", "message sent")] {
        let count = async |times: u32| -> Result<f64> {
            let mut command = Command::new("valgrind");
            command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-fd=1"]);
            let run = command.arg(&program).args([path, &times.to_string()]).output().await;
            let run = run.context("start valgrind")?;
            let told = String::from_utf8_lossy(&run.stdout);
            ensure!(run.status.success(), "{told}");
            let collected = told.lines().find_map(|line| line.split_once("Collected : "));
            Ok(collected.with_context(|| told.to_string())?.1.trim().parse()?)
        };
        let each = (count(TIMES.1).await? - count(TIMES.0).await?) / f64::from(TIMES.1 - TIMES.0);
        let key = format!("{profile} {path} ");
        let committed = COMMITTED.lines().find_map(|line| line.strip_prefix(&key)?.parse().ok());
        let what = format!("{what}: instructions, no sockets, no broker");
        let row = Row::new(what, "", each, "committed", committed.unwrap_or(f64::NAN));
        table.add(row.judged_by(if committed.is_some() { Target::AtMost(GROWTH) } else { Target::Shown }));
    }
    Ok(())
}
