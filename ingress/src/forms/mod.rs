//! Forms: from a provider's request to one clean message, or to what is wrong with it.
//!
//! `receive.form` names the form of a backend. [`HttpForm`], the default, cleans the parameters that the
//! configuration declares. Your own form implements [`Form`], most often around an `HttpForm`, and gets its
//! name with [`Forms::with`].

mod codec;
mod errors;
mod field;
mod form;
mod http;
mod json;
mod multipart;
mod nested;
mod parameter;
mod registry;
mod request;
mod urlencoded;
mod xml;

pub(crate) use codec::{decode_text, text_names};
pub use errors::Errors;
pub(crate) use errors::list;
pub use form::{Cleaned, Form};
pub use http::HttpForm;
pub(crate) use json::{is_json, json_error};
pub use parameter::{Parameter, ParameterLimits};
pub use postern_config::KeyProblem;
pub use registry::{FormNameError, Forms};
pub use request::{BatchContext, Found, RawRequest, Request, Unreadable};
