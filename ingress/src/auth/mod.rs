//! Who a request comes from, and whether that is so.
//!
//! - A provider's request proves itself by `receive.auth` (`request_auth`): what its head can prove
//!   before the body is read, a signature before the body is looked at, Twilio's before the form.
//!   `receive.allow` comes before all of them.
//! - A request comes from its peer's address. `address` walks `X-Forwarded-For` from the right, and only
//!   through `ingress.trusted_proxies`.
//! - Passwords, tokens and keys are compared as SHA-256 digests, signatures as MACs: in a time that says
//!   nothing. Every refusal of a kind has the same answer; which it was stands in the log line
//!   (`refused`) and in `postern_ingress_refused_total`.
//! - `/v1` asks for an API key (`api_keys`), of which the process keeps the digest only. Several keys of
//!   one name are one caller: the same ids, the same rate. Without API keys, `/v1` answers only clients
//!   on this machine (`local`), and a configuration that says that others reach the listener is refused.
//! - `respond` counts for each address the requests that proved nothing, and refuses an address that has
//!   used up its rate before it reads anything else, even if the request shows the right proof: a client
//!   that guesses does not learn that it guessed right. A proof that comes with the body is asked for the
//!   rate again when the body is there.

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
pub(crate) use presented::Presented;
pub(crate) use principal::Principal;
pub(crate) use request_auth::RequestAuth;
