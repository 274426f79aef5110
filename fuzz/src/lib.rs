//! What must hold for any input, hostile input above all. Each function takes any bytes and panics if a
//! promise is broken. libFuzzer makes the bytes (`fuzz/run`), and `tests/corpus.rs` plays the files in
//! `corpus/` without libFuzzer.

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
