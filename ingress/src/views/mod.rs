//! The handlers of the public routes and of `/v1`: one module for each resource.

mod authenticate;
pub(crate) mod backends;
pub(crate) mod health;
pub(crate) mod logged;
pub(crate) mod messages;
pub(crate) mod openapi;
pub(crate) mod provider;
mod query;
mod submission;
pub(crate) mod unmatched;
