//! A backend's two ways in: messages from its provider, and the provider's delivery reports.
//!
//! Every request begins with the same checks (`endpoint`). `take` decides which part of it is messages and
//! which is reports (`parts`): one of either, every item of a list, or both in one body. `receiver` turns a
//! part into a message and `reporter` into a report, after `list_reads` has seen that nothing is left out.
//! All of it can end in the same refusals (`refusal`). Nothing here publishes.

mod endpoint;
mod list_reads;
mod parts;
mod receiver;
mod refusal;
mod reporter;
mod take;

pub(crate) use reporter::Reported;
pub(crate) use take::{Brought, Provider, ProviderPath, Taken};
