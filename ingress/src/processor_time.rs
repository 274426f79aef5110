//! How much of the processor a test's code takes, on a machine that is busy too.

use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// The processor's time that this thread takes for `work`.
pub(crate) fn processor_time(work: impl FnOnce()) -> Duration {
    let spent = || {
        let spent = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(spent.tv_sec.cast_unsigned(), spent.tv_nsec as u32)
    };
    let begun = spent();
    work();
    spent() - begun
}
