//! Who a request comes from, and whether that is so.

mod address;
mod api_keys;
mod proof;
mod signature;
mod twilio;

pub(crate) use address::Clients;
pub use api_keys::{ApiKeys, Caller};
pub(crate) use proof::Proof;
