//! Decoding a text whose bytes depend on other parameters.

use super::{parameter::Parameter, request::Request};
use postern_config::backend::{codec::Codec, receive::Receive};
use std::borrow::Cow;

/// Decodes the parameter that is the text, in place: whoever looks at it then finds UTF-8.
///
/// # Errors
/// What is wrong with the parameter `charset`.
pub(crate) fn decode_text(codec: Codec, text: &[String], request: &mut Request<'_>) -> Result<(), String> {
    let word = |name: &str| request.parameter(name).map(|parameter| String::from_utf8_lossy(&parameter.raw));
    let (charset, coding) = (word("charset"), word("coding"));
    let mut decoded = Vec::new();
    for (index, parameter) in request.parameters.iter().enumerate() {
        if text.iter().any(|name| *name == parameter.name) {
            decoded.push((index, codec.decode(&parameter.raw, charset.as_deref(), coding.as_deref())?));
        }
    }
    for (index, text) in decoded {
        let name = std::mem::take(&mut request.parameters[index].name);
        let raw = Cow::Owned(text.into_bytes());
        request.parameters[index] = Parameter { name, raw, charset: Some(encoding_rs::UTF_8) };
    }
    Ok(())
}

/// What requests call the text.
pub(crate) fn text_names(receive: &Receive) -> Vec<String> {
    receive.param("text").map(str::to_owned).collect()
}
