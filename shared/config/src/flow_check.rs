//! Checks of concurrency, delays and circuit breakers, which several sections have in common.

use crate::{
    backend::flow::{BreakerSection, RetrySection},
    reader::Reader,
};
use postern_shared::value::MAX_CONCURRENCY;

/// The largest `failures` of a circuit breaker.
const MAX_FAILURES: u32 = 100_000;

/// Checks the number of sends in flight at `key`.
pub(super) fn concurrency(number: u16, key: &str, reader: &mut Reader) {
    if !(1..=MAX_CONCURRENCY).contains(&number) {
        reader.problem(key, format!("must be 1 to {MAX_CONCURRENCY}"));
    }
}

/// Checks the delays at `key`.
pub(super) fn retry(retry: &RetrySection, key: &str, reader: &mut Reader) {
    for (index, delay) in retry.delays.iter().enumerate() {
        if delay.0.as_millis() < 100 {
            reader.problem(format!("{key}.delays[{index}]"), "must be at least 100ms");
        }
    }
    if retry.delays.len() > 100 {
        reader.problem(format!("{key}.delays"), "at most 100 delays are allowed");
    }
}

/// Checks the circuit breaker at `key`.
pub(super) fn breaker(breaker: BreakerSection, key: &str, reader: &mut Reader) {
    if breaker.failures > MAX_FAILURES {
        reader.problem(format!("{key}.failures"), format!("must be 0 (never pause) to {MAX_FAILURES}"));
    }
    if breaker.pause.0.as_millis() < 100 {
        reader.problem(format!("{key}.pause"), "must be at least 100ms");
    } else if breaker.max_pause < breaker.pause && reader.has_read(key) {
        reader.problem(format!("{key}.max_pause"), "must be at least as long as pause");
    }
}
