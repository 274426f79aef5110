//! Flow control: whether a backend's messages may be taken from its queues and sent now.
//!
//! [`FlowControl`] decides that for one backend, with one limit and one rate, for each message and each of
//! its requests. It is a thin shell around `state`, a value that is told the time.
//!
//! - **Limit** (`limit`, `permit`). The number of requests in flight, `concurrency`: permits that are
//!   handed out in the order in which they were asked for. A message is taken from its queue only with a
//!   permit, so that it is begun at once ([`WorkPermit`]). Each request needs a permit until it is
//!   answered (`SendPermit`): the message's own, or a further one if nobody has waited longer. So one
//!   message to many recipients uses what is free, and never what the next message waits for.
//! - **Requests** (`sender`). [`PacedSender`] is the one place that splits a queued message into
//!   requests, each to as many recipients as the backend's request may have.
//! - **Rate** (`rate`, `pacing`, `lanes`). With a rate, each request also waits for its turn, one bucket in
//!   each process. The normal lane goes first, and bulk once in nine times. One message of each lane waits
//!   here, so that its requests do not block the other lane's. The others stay prefetched, at most as many
//!   as can be sent in `send.timeout`. The wait ends before the call: no timeout and no in-flight count
//!   includes it.
//! - **Sharing** (`processes`). Each process sends its share of the rate: the rate divided by the number
//!   of consumers of the backend's queue.
//! - **Breaker** (`breaker`). While the provider is down, only one message is taken after each pause.
//! - **Throttling** (`throttle`). If the provider asks for less: a pause, then a slow start.
//! - **Concurrency** (`concurrency`). With `concurrency_max`, the limit follows the provider.
//!
//! What is requeued: a message of which no request was begun is released unchanged. Of one that was begun
//! in part, the rest is published again, as the same attempt. A request whose turn does not come in the
//! time that `lease` allows is not begun, and neither is one whose message has expired or been cancelled
//! when its turn comes.

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
pub(crate) use sender::{IsCancelled, PacedSender};
pub(crate) use shown::FlowShown;
pub(crate) use state::Intake;
