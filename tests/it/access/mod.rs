//! Who may do what, with real programs over real sockets. The tables of the schemes that providers use are in
//! `tests/fixtures/auth`.

mod admin;
mod keys;
mod limits;
pub(crate) mod tls;
mod trust;
mod webhooks;
