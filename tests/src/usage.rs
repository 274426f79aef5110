//! CPU time and memory of a process, as the kernel counts them.

use std::time::Duration;

/// The unit of times in `/proc/PID/stat` on every Linux: 1/100 s (proc(5), USER_HZ).
const TICK: Duration = Duration::from_millis(10);

/// The resident memory of a process, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// The present value.
    pub now: u64,
    /// The highest value so far.
    pub peak: u64,
}

/// The CPU time that all threads of a running process have used, user and system.
pub fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    // The name in parentheses may hold anything.
    let (_, rest) = stat.rsplit_once(')').expect("the name of the program");
    let field = |index| rest.split_whitespace().nth(index).and_then(|field| field.parse::<u32>().ok());
    // utime and stime are fields 14 and 15, state is 3 and the first here.
    let ticks = field(11).zip(field(12)).map(|(user, system)| user + system);
    TICK * ticks.expect("times in /proc/PID/stat")
}

/// The memory of a running process.
pub fn memory(pid: u32) -> Memory {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        1024 * kilobytes.unwrap_or_else(|| panic!("{name} in /proc/PID/status"))
    };
    Memory { now: field("VmRSS:"), peak: field("VmHWM:") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn this_process_has_memory_and_has_used_some_cpu() {
        let memory = memory(std::process::id());
        assert!(memory.now > 1_000_000 && memory.peak >= memory.now, "{memory:?}");
        let before = cpu(std::process::id());
        let begun = Instant::now();
        while cpu(std::process::id()) == before {
            assert!(begun.elapsed() < Duration::from_secs(60), "still {before:?}");
        }
    }
}
