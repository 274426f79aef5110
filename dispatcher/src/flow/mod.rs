//! Flow control: whether a backend's messages may be taken from its queues and sent now.
//!
//! [`FlowControl`] answers that for one backend. A message is taken with a permit of the backend's
//! `limit`, which makes it a [`WorkPermit`]; each of its requests needs a permit and, if the backend has
//! a rate, its turn, which makes it a [`SendPermit`]. What a backend's flow depends on is a value that
//! is told the time, `state`, made of `breaker` (the provider is down), `throttle` (the provider asks
//! for less), `concurrency` (how many permits there are) and `pacing` (when the next request may go: by the
//! `rate`, and by the `lanes`). [`PacedSender`] splits a message into requests and sends each when
//! it may; `processes` counts the processes that share a rate.

mod breaker;
mod concurrency;
mod control;
mod held;
mod lanes;
mod limit;
mod metrics;
mod pacing;
mod permit;
mod processes;
mod rate;
mod sender;
mod shown;
mod state;
mod throttle;

pub(crate) use control::FlowControl;
pub(crate) use lanes::LaneScheduler;
pub(crate) use limit::ConcurrencyPermit;
pub(crate) use metrics::{AllFlowMetrics, Rated};
pub(crate) use permit::WorkPermit;
pub(crate) use processes::{RatedQueues, settling};
pub(crate) use sender::PacedSender;
pub(crate) use shown::FlowShown;
pub(crate) use state::Intake;
