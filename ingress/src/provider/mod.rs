//! A backend's two ways in: messages from its provider (`receiver`), and the provider's delivery
//! reports (`reporter`). Both begin with the same checks (`endpoint`),
//! and both can end in the same refusals (`refusal`). Nothing here publishes.

mod endpoint;
mod receiver;
mod refusal;
mod reporter;

pub(crate) use receiver::Receiver;
pub(crate) use reporter::{Reported, Reporter};
