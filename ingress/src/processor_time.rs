//! The processor time that a test's code takes, even on a busy machine.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The processor time that this thread spends on `work`.
pub(crate) fn processor_time(work: impl FnOnce()) -> Duration {
    let spent = || {
        let spent = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(spent.tv_sec.cast_unsigned(), spent.tv_nsec as u32)
    };
    let begun = spent();
    work();
    spent() - begun
}
