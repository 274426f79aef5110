//! A backend's two ways in: messages from its provider, and the provider's delivery reports.
//!
//! Every request begins with the same checks (`endpoint`). `take` decides which part of it is messages and
//! which is reports (`parts`): one of either, every item of a list, or both in one body. `receiver` turns a
//! part into a message and `reporter` into a report, after `list_reads` has seen that nothing is left out.
//! All of it can end in the same refusals (`refusal`). Nothing here publishes.
//!
//! A delivery report finds its message by its address, which carries our id (`{{ status_url }}` in a send
//! template, or `?message_id={{ id }}`). If it cannot, the report is found by the provider's id, which
//! the `sent` report carried and the message log, if there is one, knows. A report that overtakes the
//! answer to its own send is published all the same.

mod endpoint;
mod list_reads;
mod parts;
mod receiver;
mod refusal;
mod reporter;
mod take;

pub(crate) use reporter::Reported;
pub(crate) use take::{Brought, Provider, ProviderPath, Taken};
