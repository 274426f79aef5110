//! Requests to other people's servers: a provider, the application's webhook, or a client that asked for
//! callbacks.
//!
//! `client` makes them, and `resolve` restricts those whose address a client chose. `authorization` makes
//! an `Authorization` header that stays the same, `access_token` and `aws_sigv4` make one that changes.
//! `answer` reads an answer, `classify` says what it means, `results` what it means for each recipient, and
//! `unreached` why there was none. `redact` removes secrets from it. `trace` adds the headers of a trace.

pub(crate) mod access_token;
pub(crate) mod answer;
pub(crate) mod authorization;
pub(crate) mod aws_sigv4;
pub(crate) mod classify;
pub(crate) mod client;
pub(crate) mod redact;
pub(crate) mod resolve;
mod results;
pub(crate) mod trace;
pub(crate) mod unreached;
