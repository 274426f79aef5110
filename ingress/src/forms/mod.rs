//! Forms: from a provider's request to one clean message, or to what is wrong with it.
//!
//! `receive.form` names the form of a backend. [`HttpForm`], the default, cleans the parameters
//! that the configuration declares; a form of one's own implements [`Form`], most often around an
//! `HttpForm`, and is given a name with [`Forms::with`].

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
