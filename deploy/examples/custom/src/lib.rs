//! Two connectors and a form of one's own: what a provider needs that no configuration can say.
//!
//! [`Outbox`] sends by writing into files, one for each identity. [`Mailbox`] receives as well, while
//! its backend is served. [`OneNumber`] is RapidSMS's example of a custom form: it takes messages from
//! one number only.

mod mailbox;
mod one_number;
mod outbox;

pub use mailbox::Mailbox;
pub use one_number::OneNumber;
pub use outbox::Outbox;

use postern::Gateway;
use postern_dispatcher::connectors::ConnectorRegistry;
use postern_ingress::forms::Forms;

/// A gateway that knows them, by name.
///
/// # Errors
/// A name is taken.
pub fn gateway() -> anyhow::Result<Gateway> {
    let connectors =
        ConnectorRegistry::builtin().with("outbox", Outbox::new)?.with("mailbox", Mailbox::new)?;
    let forms = Forms::builtin().with("one-number", OneNumber::new)?;
    Ok(Gateway::new().with_connectors(connectors).with_forms(forms))
}
