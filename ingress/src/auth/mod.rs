//! Who a request comes from, and whether that is so.

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

pub(crate) use crate::refusal_reason::RefusalReason;
pub(crate) use address::Clients;
pub(crate) use api_keys::ApiKeys;
pub(crate) use local::is_local;
pub(crate) use presented::Presented;
pub(crate) use principal::Principal;
pub(crate) use request_auth::RequestAuth;
