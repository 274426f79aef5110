//! What a process has used, as the kernel counts it.

use anyhow::{Context, Result};
use std::time::Duration;

/// The unit of times in `/proc/PID/stat`, whatever the kernel's own: 1/100 s (proc(5), USER_HZ).
const TICK: Duration = Duration::from_millis(10);

/// CPU time, user and system, of all threads.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("/proc/PID/stat")?;
    let field = |index| rest.split_whitespace().nth(index).and_then(|field| field.parse::<u32>().ok());
    // utime and stime are fields 14 and 15, state is 3 and the first here.
    let ticks = field(11).zip(field(12)).map(|(user, system)| user + system);
    Ok(TICK * ticks.context("times in /proc/PID/stat")?)
}

/// Resident memory in MB: now, and the most so far.
pub(crate) fn memory(pid: u32) -> Result<(f64, f64)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        kilobytes
            .map(|kilobytes| kilobytes * 1024.0 / 1e6)
            .with_context(|| format!("{name} in /proc/PID/status"))
    };
    Ok((field("VmRSS:")?, field("VmHWM:")?))
}
