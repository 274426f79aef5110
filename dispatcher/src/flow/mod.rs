//! Flow control: what stands between a backend's queue and its sender.
//!
//! [`Gate`] says whether messages are taken from the queue at all, and lets each request go when it
//! may. What it decides by are values that are told the time: `rate` (when the next request may go,
//! and this process's share of the limit), `turn` (which lane is next), `breaker` (the provider is
//! down), `throttle` (the provider asks for less) and `width` (how many at a time). [`Paced`] is a
//! sender behind its gate, and [`census`] counts the processes that share a limit.

mod breaker;
mod census;
mod gate;
mod paced;
mod rate;
mod state;
mod throttle;
mod turn;
mod width;

pub(crate) use census::{census, settling};
pub(crate) use gate::{Door, Gate, NOT_BEGUN, Pass};
pub(crate) use paced::Paced;
pub(crate) use state::Mode;
pub(crate) use turn::Turn;
