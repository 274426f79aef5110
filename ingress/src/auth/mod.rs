//! Who a request comes from, and how that is proved.
//!
//! - A provider's request proves itself by `receive.auth` (`request_auth`). A proof in the head is checked
//!   before the body is read, a signature before the body is parsed, Twilio's before the form.
//!   `receive.allow` is checked before all of them.
//! - A request comes from its peer's address. `address` walks `X-Forwarded-For` from the right, and only
//!   through `ingress.trusted_proxies`.
//! - Passwords, tokens and keys are compared as SHA-256 digests, signatures as MACs, in constant time. Every
//!   failed proof of one kind gets the same answer; only the log line (`refused`) and
//!   `postern_ingress_refused_total` say what was wrong.
//! - `/v1` asks for an API key (`api_keys`), of which the process keeps only the digest. Several keys of one
//!   name are one caller: the same ids, the same rate. Without API keys, `/v1` answers only clients on this
//!   machine (`local`), and a configuration that says that others reach the listener is refused.
//! - `respond` counts for each address the requests that proved nothing, and refuses an address that has used
//!   up its rate before it reads anything else, even if the request shows the right proof: a client that
//!   guesses does not learn that it guessed right. If the proof comes with the body, the rate is checked
//!   again once the body is there.

mod address;
mod api_keys;
mod called_url;
mod jwt;
mod local;
mod presented;
mod principal;
mod request_auth;
mod signature;
mod standard_webhooks;
mod twilio;

pub(crate) use address::Clients;
pub(crate) use api_keys::ApiKeys;
pub(crate) use local::is_local;
pub(crate) use presented::{Presented, RequestFingerprint};
pub(crate) use principal::Principal;
pub(crate) use request_auth::RequestAuth;
