//! Input that nobody with good intentions sends, and what must hold whatever it is. Each function
//! takes any bytes and panics where a promise is broken; libFuzzer makes the bytes up
//! (`fuzz/run`), and `tests/corpus.rs` plays what is in `corpus/` without it.

#![allow(clippy::panic, clippy::unwrap_used, clippy::expect_used, reason = "a finding is a panic")]
#![allow(
    clippy::disallowed_types,
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "libFuzzer calls a function: what it needs lives as long as the process"
)]

mod definition;
mod request;
mod store;

pub use definition::definition;
pub use request::request;
pub use store::store;
