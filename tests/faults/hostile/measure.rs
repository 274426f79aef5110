//! How the normal load fared during a span of time, and what the span cost the programs.

use crate::{field::Field, ledger::Ledger};
use postern_tests::usage;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// A p99 below this, in seconds, counts as this: otherwise one late answer would multiply it, and a debug build
/// needs 30 ms for what a release build does in 2.
const SHORT: f64 = 0.025;
/// The time between two readings of the memory.
const LOOK: Duration = Duration::from_millis(50);
/// The shortest span that says something about the rate.
pub(crate) const MEASURES: Duration = Duration::from_secs(30);
/// How much more memory both programs together may use during an attack, in MiB.
const GROWS: f64 = 90.0;
const MIB: f64 = 1024.0 * 1024.0;

/// The results for a span of time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Measured {
    /// Accepted messages a second.
    pub(crate) accepted: f64,
    /// Delivered messages a second.
    pub(crate) delivered: f64,
    /// The time within which 99 % of the accepted messages were answered.
    pub(crate) p99: Duration,
    /// The sum of each program's highest memory use, in MiB.
    pub(crate) memory: f64,
    /// The CPU that the programs used, in cores.
    pub(crate) cores: f64,
}

/// The load without an attack, and with it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Beside {
    /// The length of each of the two spans.
    pub(crate) span: Duration,
    pub(crate) without: Measured,
    pub(crate) with: Measured,
}

impl Beside {
    /// The share of the rate that is left, of accepted or of delivered messages, whichever is less.
    pub(crate) fn rate(&self) -> f64 {
        let part = |with: f64, without: f64| if without > 0.0 { with / without } else { 0.0 };
        part(self.with.accepted, self.without.accepted).min(part(self.with.delivered, self.without.delivered))
    }

    /// Violated limits.
    pub(crate) fn problems(&self) -> Vec<String> {
        let grown = self.with.memory - self.without.memory;
        let memory = (grown > GROWS).then(|| format!("{grown:.0} MiB more memory"));
        self.slow().into_iter().chain(memory).collect()
    }

    /// Violated limits of rate and time. A short span, measured while other attacks run, says little about them.
    pub(crate) fn slow(&self) -> Vec<String> {
        let (least, most) = if self.span < MEASURES { (0.5, 10.0) } else { (0.9, 2.0) };
        let (rate, p99) = (self.rate(), self.p99());
        let rate = (rate < least).then(|| format!("{:.0} % of the rate is left", 100.0 * rate));
        let p99 = (p99 > most).then(|| format!("the p99 of the answers is {p99:.1} times as long"));
        [rate, p99].into_iter().flatten().collect()
    }

    /// The p99 of the answers during the attack, as a multiple of the p99 without it.
    pub(crate) fn p99(&self) -> f64 {
        self.with.p99.as_secs_f64() / self.without.p99.as_secs_f64().max(SHORT)
    }
}

/// A span of time that is being measured.
#[derive(Debug)]
pub(crate) struct Meter {
    ledger: Arc<Ledger>,
    programs: Vec<u32>,
    begun: Instant,
    cpu: Duration,
}

impl Meter {
    /// Starts measuring.
    pub(crate) fn start(field: &Field) -> Self {
        let programs = field.programs();
        let cpu = cpu_of(&programs);
        Self { ledger: Arc::clone(&field.ledger), programs, begun: Instant::now(), cpu }
    }

    /// Measures for `span`.
    pub(crate) async fn run(self, span: Duration) -> Measured {
        let mut most = vec![0; self.programs.len()];
        while self.begun.elapsed() < span {
            for (most, program) in most.iter_mut().zip(&self.programs) {
                *most = usage::memory(*program).now.max(*most);
            }
            tokio::time::sleep(LOOK).await;
        }
        let until = Instant::now();
        let seconds = until.duration_since(self.begun).as_secs_f64();
        let cpu = cpu_of(&self.programs) - self.cpu;
        let told = self.ledger.between(self.begun, until);
        let each_second = |messages: usize| f64::from(u32::try_from(messages).unwrap_or(u32::MAX)) / seconds;
        Measured {
            accepted: each_second(told.answers.len()),
            delivered: each_second(told.ended),
            p99: percentile(told.answers, 99),
            memory: most.iter().sum::<u64>() as f64 / MIB,
            cores: cpu.as_secs_f64() / seconds,
        }
    }
}

/// The CPU time that all of `programs` have used.
fn cpu_of(programs: &[u32]) -> Duration {
    programs.iter().map(|program| usage::cpu(*program)).sum()
}

/// The value that `part` percent of the answers do not exceed; zero if there are none.
fn percentile(mut answers: Vec<Duration>, part: usize) -> Duration {
    answers.sort_unstable();
    let index = (answers.len() * part).div_ceil(100).saturating_sub(1);
    answers.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_99th_of_a_hundred_is_the_p99() {
        let of = |numbers: std::ops::RangeInclusive<u64>| numbers.map(Duration::from_millis).collect();
        assert_eq!(percentile(of(1..=100), 99), Duration::from_millis(99));
        assert_eq!(percentile(of(1..=3), 99), Duration::from_millis(3));
        assert_eq!(percentile(Vec::new(), 99), Duration::ZERO);
    }
}
