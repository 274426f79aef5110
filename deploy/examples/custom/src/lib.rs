//! A backend and a form of one's own: what a provider needs that no configuration can say.
//!
//! [`Outbox`] sends by writing into files, one for each identity. [`OneNumber`] is RapidSMS's
//! example of a custom form: it takes messages from one number only.

mod one_number;
mod outbox;

pub use one_number::OneNumber;
pub use outbox::Outbox;

use postern::Gateway;
use postern_dispatcher::backends::Engines;
use postern_ingress::forms::Forms;

/// A gateway that knows both, by name.
///
/// # Errors
/// A name is taken.
pub fn gateway() -> anyhow::Result<Gateway> {
    let engines = Engines::builtin().with("outbox", Outbox::new)?;
    let forms = Forms::builtin().with("one-number", OneNumber::new)?;
    Ok(Gateway::new().with_engines(engines).with_forms(forms))
}
