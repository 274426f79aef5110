//! Postern's vocabulary, used by everything else: what a message is, what went wrong with it, and
//! the values that configurations are made of. It knows no server, no client, no AMQP and no database.
//!
//! [`message`] and [`error`] are what the queues carry, [`event`] is what the message log records of it.
//! [`text`] counts a text's segments and splits one that is too long, [`trace_context`] says which trace
//! a message belongs to, [`callback`] is what a client of another gateway wants to be told, [`value`]
//! holds spans, rates, secrets and similar values, and [`read`] finds the mistakes in JSON that should
//! hold any of them. [`control`] holds the commands that operators give while the gateway runs,
//! [`suggest`] finds what a mistyped word was meant to be, [`clock`] tells the time, [`backoff`] says
//! how long to wait before the next attempt, and [`terminal`] makes strangers' texts safe to show.

pub mod backoff;
pub mod callback;
pub mod clock;
pub mod control;
pub mod error;
pub mod event;
pub mod message;
pub mod read;
pub mod suggest;
pub mod terminal;
pub mod text;
pub mod trace_context;
pub mod value;
