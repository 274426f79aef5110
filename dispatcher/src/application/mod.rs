//! Applications that the dispatcher serves itself: what answers people's messages where nobody
//! else does, and the webhook that is called with them.

mod call;
pub(crate) mod echo;
mod sign;
pub(crate) mod webhook;
