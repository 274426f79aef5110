//! The views: one module for each resource.

pub(crate) mod backends;
pub(crate) mod doors;
mod gateway;
pub(crate) mod messages;
pub(crate) mod not_found;
pub(crate) mod openapi;
pub(crate) mod provider;
pub(crate) mod receive;
pub(crate) mod status;
mod submission;

pub(crate) use gateway::{Gateway, problems};
