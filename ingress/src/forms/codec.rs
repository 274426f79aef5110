//! Decoding a text whose bytes depend on other parameters.

use super::{parameter::Parameter, request::Request};
use postern_config::backend::{codec::Codec, receive::Receive};
use postern_shared::value::Settings;
use std::borrow::Cow;

/// Decodes the parameters with the names in `text` in place, to UTF-8. The charset is the parameter
/// `charset`, else the one that the request declares for its body. A text is not refused for an unknown
/// charset: it is decoded as if none were named.
pub(crate) fn decode_text(codec: Codec, settings: &Settings, text: &[String], request: &mut Request<'_>) {
    let raw = |name: &str| request.parameter(name).map(|parameter| &*parameter.raw);
    let declared = request.declared_charset().map(|charset| Cow::Borrowed(charset.name()));
    let charset = raw("charset").map(String::from_utf8_lossy).or(declared);
    let coding = raw("coding");
    let decode = |raw: &[u8], charset| codec.decode(raw, charset, coding, settings);
    let mut decoded = Vec::new();
    for (index, parameter) in request.parameters.iter().enumerate() {
        if text.iter().any(|name| *name == parameter.name) {
            let raw = &parameter.raw;
            let text = decode(raw, charset.as_deref()).or_else(|_| decode(raw, None));
            decoded.push((index, text.unwrap_or_else(|_| String::from_utf8_lossy(raw).into_owned())));
        }
    }
    for (index, text) in decoded {
        let name = std::mem::take(&mut request.parameters[index].name);
        let raw = Cow::Owned(text.into_bytes());
        request.parameters[index] = Parameter { name, raw, charset: Some(encoding_rs::UTF_8) };
    }
}

/// The names that the text may have in requests.
pub(crate) fn text_names(receive: &Receive) -> Vec<String> {
    receive.param("text").map(str::to_owned).collect()
}
