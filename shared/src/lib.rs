//! Postern's vocabulary, used by everything else: what a message is, what went wrong with it, and
//! the values that configurations are made of. It knows no server, no client, no AMQP and no database.
//!
//! [`message`] and [`error`] are what goes through the queues, [`event`] is what the message log holds
//! of them, [`text`] counts segments and splits
//! what is too long, [`trace_context`] says what belongs together, [`callback`] is what a client of
//! another gateway wants to be told, [`value`] holds spans, rates, secrets and the like,
//! and [`read`] finds the mistakes in JSON that should hold any of them,
//! [`control`] is what operators order while the gateway runs,
//! [`suggest`] finds what a mistyped word was meant to be,
//! [`clock`] says the time and [`backoff`] how long to wait before the next attempt, [`terminal`] makes
//! strangers' texts harmless where they are shown.

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
