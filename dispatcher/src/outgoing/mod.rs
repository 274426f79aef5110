//! Requests to other people's servers, whoever they are: a provider, the application's webhook, a
//! client that wants to be called back.
//!
//! `client` makes them and `resolve` keeps those in bounds whose address a client chose,
//! `authorization` is the header that stays the same, `access_token` and `aws_sigv4` make one that does not,
//! `answer` reads what comes back, `classify` says what it means, `results` what it means for each recipient,
//! `unreached` why there was none, `redact` what of it may be told, `trace` tells of a trace.

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
