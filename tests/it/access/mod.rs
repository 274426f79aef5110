//! Who may do what, with real programs over real sockets. The schemes of providers, row by row:
//! `tests/fixtures/auth`.

mod admin;
mod keys;
mod limits;
pub(crate) mod tls;
mod trust;
mod webhooks;
