//! Two custom connectors and a custom form, for providers that a configuration alone cannot describe.
//!
//! [`Outbox`] sends by writing into files, one for each identity. [`Mailbox`] also receives while its
//! backend is served. [`OneNumber`] is RapidSMS's example of a custom form: it takes messages from one
//! number only.

mod mailbox;
mod one_number;
mod outbox;

pub use mailbox::Mailbox;
pub use one_number::OneNumber;
pub use outbox::Outbox;

use postern::Gateway;
use postern_dispatcher::connectors::ConnectorRegistry;
use postern_ingress::forms::Forms;

/// A gateway with these connectors and this form, registered by name.
///
/// # Errors
/// A connector or a form with the same name exists already.
pub fn gateway() -> anyhow::Result<Gateway> {
    let connectors =
        ConnectorRegistry::builtin().with("outbox", Outbox::new)?.with("mailbox", Mailbox::new)?;
    let forms = Forms::builtin().with("one-number", OneNumber::new)?;
    Ok(Gateway::new().with_connectors(connectors).with_forms(forms))
}
