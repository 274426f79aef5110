//! A backend's two endpoints: one for messages from its provider, one for the provider's delivery reports.
//!
//! `handler` answers a request. `take` finds out what it brings. Every request begins with the same checks
//! (`endpoint`). Then `parts` decides which part of it is messages and which is reports, as the configuration
//! chooses (`choice`): one of either, every item of a list, or both in one body. `receiver` turns a part into
//! a message and `reporter` into a report, after `list_reads` has checked that no item is left out. Each step
//! can end in one of the same refusals (`refusal`). Messages and reports are stored in one publish (`store`),
//! once `report_lookup` has completed the reports.
//!
//! A delivery report finds its message by our id in the report's URL (`{{ status_url }}` in a send template,
//! or `?message_id={{ id }}`). Without our id, the message is found by the provider's id, which the `sent`
//! report carried and which the message log, if there is one, knows. A report that overtakes the answer to
//! its own send is published all the same.

pub(crate) mod handler;

mod take;

mod choice;
mod endpoint;
mod list_reads;
mod parts;
mod receiver;
mod refusal;
mod reporter;

mod report_lookup;
mod store;

pub(crate) use take::{ProviderEndpoints, ProviderPath, Taken};
