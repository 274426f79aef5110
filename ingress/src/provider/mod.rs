//! A backend's two ways in: messages from its provider, and the provider's delivery reports.
//!
//! `handler` answers a request. `take` says what it brings. Every request begins with the same checks
//! (`endpoint`). Then `parts` decides which part of it is messages and which is reports, as the configuration
//! chooses (`choice`): one of either, every item of a list, or both in one body. `receiver` turns a part into
//! a message and `reporter` into a report, after `list_reads` has seen that nothing is left out. All of it can
//! end in the same refusals (`refusal`). What was brought is stored in one publish (`store`), once
//! `report_lookup` has completed the reports.
//!
//! A delivery report finds its message by its address, which carries our id (`{{ status_url }}` in a send
//! template, or `?message_id={{ id }}`). If it cannot, the report is found by the provider's id, which
//! the `sent` report carried and the message log, if there is one, knows. A report that overtakes the
//! answer to its own send is published all the same.

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

pub(crate) use take::{Provider, ProviderPath, Taken};
