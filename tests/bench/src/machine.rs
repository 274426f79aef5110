//! The commit that was measured, and the machine.

use crate::effort::Effort;
use anyhow::Result;
use postern_tests::Rabbit;
use std::time::Duration;

/// Some lines about the commit and the machine, without names and paths.
pub(crate) fn about(commit: &str, effort: &Effort, took: Duration, rabbit: &Rabbit) -> Result<String> {
    let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let line = |text: &str, key: &str| {
        let found = text.lines().find(|line| line.starts_with(key)).and_then(|line| line.split_once(':'));
        found.map_or("unknown".to_owned(), |(_, value)| value.trim().to_owned())
    };
    let cpu = line(&file("/proc/cpuinfo"), "model name");
    let memory = line(&file("/proc/meminfo"), "MemTotal");
    let memory = memory.trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1048576.0;
    let kernel = file("/proc/sys/kernel/osrelease");
    let kernel: String = kernel.trim().chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    let load = file("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or("unknown");
    let date = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    Ok(format!(
        "Commit {commit}, {date}, {} run of {} minutes. {} cores ({cpu}), {memory:.0} GiB of memory, Linux {}, \
         RabbitMQ {}, everything on the same machine, whose load was {load} at the end.",
        effort.name,
        took.as_secs().div_ceil(60),
        std::thread::available_parallelism()?,
        kernel.trim_end_matches('.'),
        rabbit.version(),
    ))
}
