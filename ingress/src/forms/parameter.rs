//! The parameters of a request, and their limits.

use super::errors::Errors;
use crate::refusal_reason::RefusalReason;
use encoding_rs::Encoding;
use postern_config::IngressSection;
use std::{borrow::Cow, fmt};

/// The limits on the parameters of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterLimits {
    /// The most parameters.
    pub max_fields: usize,
    /// The longest name, in bytes.
    pub max_key: usize,
    /// The longest value, in bytes.
    pub max_value: usize,
}

impl From<&IngressSection> for ParameterLimits {
    fn from(ingress: &IngressSection) -> Self {
        Self { max_fields: ingress.max_fields, max_key: ingress.max_key, max_value: ingress.max_value }
    }
}

impl ParameterLimits {
    pub(super) fn count(&self, fields: usize) -> Result<(), Errors> {
        let most = self.max_fields;
        if fields > most { Err(too_much(format!("at most {most} parameters are accepted"))) } else { Ok(()) }
    }

    pub(super) fn sizes(&self, name: &str, value: usize) -> Result<(), Errors> {
        let (key, most) = (self.max_key, self.max_value);
        let fits = match () {
            () if name.len() > key => Err(format!("a parameter's name may have at most {key} bytes")),
            () if value > most && name.is_empty() => Err(format!("a value may have at most {most} bytes")),
            () if value > most => Err(format!("{name}: at most {most} bytes are accepted")),
            () => Ok(()),
        };
        fits.map_err(too_much)
    }
}

/// The error of a request that exceeds a limit. A parameter's name is only in its text, and so not in the
/// log: the request made up the name.
pub(super) fn too_much(why: String) -> Errors {
    Errors::whole(why).because(RefusalReason::Size)
}

/// A parameter of a query, an urlencoded or a multipart body.
#[derive(Clone, PartialEq)]
pub struct Parameter<'a> {
    /// The name, read as UTF-8.
    pub name: Cow<'a, str>,
    /// The value, percent-decoded.
    pub raw: Cow<'a, [u8]>,
    /// The charset that is declared for this value alone, by a part of a multipart body.
    pub charset: Option<&'static Encoding>,
}

/// Hides the value.
impl fmt::Debug for Parameter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameter").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The charset that a `Content-Type` declares, if it is a known one.
pub(super) fn charset_of(content_type: &str) -> Option<&'static Encoding> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, label) = parameter.split_once('=')?;
        let label = label.trim().trim_matches('"');
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| Encoding::for_label_no_replacement(label.as_bytes()))?
    })
}
