//! What a form does: it turns a request into one clean message, or into everything that is wrong with it.

use super::{errors::Errors, request::Request};
use jiff::Timestamp;
use postern_shared::message::Identity;
use serde_json::{Map, Value};
use std::fmt;

/// Turns a provider's request into a message.
///
/// A form is shared by all threads and called once for each request; it must not block. The backend's
/// `checks` are applied to its result, so the form need not apply them.
///
/// ```
/// use postern_ingress::forms::{Cleaned, Errors, Form, HttpForm, Request};
///
/// /// Cleans as the built-in form does, and refuses more than one short message.
/// struct OneShortMessage(HttpForm);
///
/// impl Form for OneShortMessage {
///     fn clean(&self, request: &Request<'_>) -> Result<Cleaned, Errors> {
///         let cleaned = self.0.clean(request)?;
///         match cleaned.text.chars().count() {
///             0..=160 => Ok(cleaned),
///             _ => Err(Errors::of("text", "at most 160 characters are accepted")),
///         }
///     }
/// }
/// ```
pub trait Form: Send + Sync {
    /// Cleans the content of `request`.
    ///
    /// # Errors
    /// What is wrong, for the sender of the request. Nothing of `request` is stored then; if it is an item of a
    /// list, the valid items are.
    fn clean(&self, request: &Request<'_>) -> Result<Cleaned, Errors>;
}

/// The content of a request, under our names.
#[derive(Clone, PartialEq)]
pub struct Cleaned {
    /// The sender.
    pub identity: Identity,
    /// The text; may be empty.
    pub text: String,
    /// The declared extra parameters, and the media.
    pub fields: Map<String, Value>,
    /// The provider's own id of the message.
    pub external_id: Option<String>,
    /// When the provider says that it received the message.
    pub received_at: Option<Timestamp>,
}

/// Hides what people wrote.
impl fmt::Debug for Cleaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cleaned").field("fields", &self.fields.len()).finish_non_exhaustive()
    }
}
