//! A provider's request, parsed and not yet cleaned.

use super::{
    errors::Errors,
    json::{is_json, read_json},
    multipart,
    parameter::{Parameter, ParameterLimits, charset_of},
    urlencoded,
    xml::{is_xml, read_xml},
};
use actix_web::{
    HttpRequest,
    http::{
        Method,
        header::{CONTENT_TYPE, HeaderMap},
    },
};
use bytes::Bytes;
use encoding_rs::Encoding;
use postern_config::backend::{batch::pointer, http::BodyFormat};
use serde_json::Value;
use std::{borrow::Cow, fmt};

/// The name of the parameter that holds a text body.
const BODY: &str = "body";

/// The result of looking up a value by its name.
#[derive(Clone, PartialEq, Eq)]
pub enum Found<'r> {
    /// The value is absent, or JSON's `null`.
    Absent,
    /// The value's text. A JSON number or boolean is in its JSON notation, a whole number without fraction
    /// and exponent.
    Text(Cow<'r, str>),
    /// A JSON array or object.
    NoText,
}

/// A request that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// The body's media type is not supported: 415, with what is wrong.
    MediaType(String),
    /// The request exceeds a limit, or the body is not what its `Content-Type` says: 400.
    Malformed(Errors),
}

/// A request that is not parsed yet.
#[derive(Clone, Copy)]
pub struct RawRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The query of the URL, without the question mark.
    pub query: &'a str,
    /// The body. Empty for a GET.
    pub body: &'a Bytes,
}

impl<'a> RawRequest<'a> {
    /// Takes `request` and the `body` that was read from it.
    pub fn of(request: &'a HttpRequest, body: &'a Bytes) -> Self {
        let (method, headers, query) = (request.method(), request.headers(), request.query_string());
        Self { method, headers, query, body }
    }

    /// The body's `Content-Type`; empty if there is none.
    fn content_type(&self) -> &'a str {
        self.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// A provider's request: parameters or a JSON value, and everything else that a form may look at.
pub struct Request<'a> {
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The parameters in order: of the query for a GET, else of the body, or of the query if the body has
    /// none. Empty if the body is JSON or XML.
    pub parameters: Vec<Parameter<'a>>,
    /// The body if it is JSON, or the JSON that represents it if it is XML. In a batch (`receive.each`), the
    /// item that this request stands for.
    pub json: Option<Cow<'a, Value>>,
    /// The whole body and the query, if this request stands for an item of a batch.
    pub batch: Option<BatchContext<'a>>,
    /// The unparsed body.
    pub body: &'a Bytes,
    /// The charset of the parameters: `receive.charset`, else the one that `Content-Type` declares, else
    /// UTF-8.
    pub charset: &'static Encoding,
}

/// The request to which an item of a batch belongs.
#[derive(Clone, Copy)]
pub struct BatchContext<'a> {
    /// The whole body.
    pub body: &'a Value,
    /// The parameters of the query.
    pub query: &'a Request<'a>,
}

/// Hides the content of the request.
impl fmt::Debug for RawRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawRequest({}, {} bytes)", self.method, self.body.len())
    }
}

/// Hides the content of the request.
impl fmt::Debug for BatchContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchContext").finish_non_exhaustive()
    }
}

/// Hides the content of the request.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, parameters, json, body, .. } = self;
        write!(
            f,
            "Request({method}, {} parameters, JSON: {}, {} bytes)",
            parameters.len(),
            json.is_some(),
            body.len()
        )
    }
}

impl<'a> Request<'a> {
    /// Parses `raw`. The format of its body is `format` if that is set, else what its `Content-Type` says.
    /// `charset` is `receive.charset`: it overrides what the headers and XML declare, and is used for JSON
    /// that is not UTF-8.
    ///
    /// A GET has its parameters in the query. Any other method has them in the body, or in the query if the
    /// body has none. An empty body has none, regardless of its `Content-Type`.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn parse(
        raw: RawRequest<'a>,
        format: Option<BodyFormat>,
        charset: Option<&'static Encoding>,
        limits: &ParameterLimits,
    ) -> Result<Self, Unreadable> {
        if raw.method == Method::GET {
            let request = Self::empty(raw, charset.unwrap_or(encoding_rs::UTF_8));
            return request.with_parameters(urlencoded::parse(raw.query.as_bytes(), limits));
        }
        match format {
            None => Self::declared(raw, charset, limits),
            Some(BodyFormat::Form) => Self::form(raw, charset, limits),
            Some(BodyFormat::Text) => Self::text(raw, charset, limits),
            Some(BodyFormat::Json) => {
                Self::empty(raw, encoding_rs::UTF_8).with_json(read_json(raw.body, charset, limits))
            }
            Some(BodyFormat::Xml) => {
                let charset = charset.or_else(|| charset_of(raw.content_type()));
                Self::empty(raw, encoding_rs::UTF_8).with_json(read_xml(raw.body, charset, limits))
            }
        }
    }

    /// Parses a body by its `Content-Type`.
    fn declared(
        raw: RawRequest<'a>,
        charset: Option<&'static Encoding>,
        limits: &ParameterLimits,
    ) -> Result<Self, Unreadable> {
        let in_query = || urlencoded::parse(raw.query.as_bytes(), limits);
        let declared = raw.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
        let declared = declared.unwrap_or_default().trim();
        let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let known = charset.or_else(|| charset_of(declared));
        let request = Self::empty(raw, known.unwrap_or(encoding_rs::UTF_8));
        if raw.body.is_empty() && !raw.query.is_empty() {
            return request.with_parameters(in_query());
        }
        let request = match essence.as_str() {
            "" | "application/x-www-form-urlencoded" => {
                request.with_parameters(urlencoded::parse(raw.body, limits))
            }
            "multipart/form-data" => {
                let mut request = request.with_parameters(multipart::parse(declared, raw.body, limits))?;
                if charset.is_some() {
                    request.parameters.iter_mut().for_each(|part| part.charset = None);
                }
                Ok(request)
            }
            json if is_json(json) => request.with_json(read_json(raw.body, known, limits)),
            xml if is_xml(xml) => request.with_json(read_xml(raw.body, known, limits)),
            _ => Err(Unreadable::MediaType(MEDIA_TYPES.to_owned())),
        }?;
        let has_none = request.parameters.is_empty() && request.json.is_none();
        if has_none { request.with_parameters(in_query()) } else { Ok(request) }
    }

    /// Parses a form: as multipart if it is declared so, else as urlencoded.
    fn form(
        raw: RawRequest<'a>,
        charset: Option<&'static Encoding>,
        limits: &ParameterLimits,
    ) -> Result<Self, Unreadable> {
        let declared = raw.content_type();
        let essence = declared.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("multipart/form-data") {
            return Self::declared(raw, charset, limits);
        }
        let charset = charset.or_else(|| charset_of(declared)).unwrap_or(encoding_rs::UTF_8);
        let form = if raw.body.is_empty() { raw.query.as_bytes() } else { raw.body };
        Self::empty(raw, charset).with_parameters(urlencoded::parse(form, limits))
    }

    /// Parses a text body: it becomes the parameter `body`, after those of the query.
    fn text(
        raw: RawRequest<'a>,
        charset: Option<&'static Encoding>,
        limits: &ParameterLimits,
    ) -> Result<Self, Unreadable> {
        let request = Self::empty(raw, charset.unwrap_or(encoding_rs::UTF_8));
        let mut request = request.with_parameters(urlencoded::parse(raw.query.as_bytes(), limits))?;
        limits.sizes(BODY, raw.body.len()).map_err(Unreadable::Malformed)?;
        let charset = charset.or_else(|| request.declared_charset());
        let body = Parameter { name: Cow::Borrowed(BODY), raw: Cow::Borrowed(raw.body), charset };
        request.parameters.push(body);
        Ok(request)
    }

    fn with_parameters(self, read: Result<Vec<Parameter<'a>>, Errors>) -> Result<Self, Unreadable> {
        Ok(Self { parameters: read.map_err(Unreadable::Malformed)?, ..self })
    }

    fn with_json(self, read: Result<Value, Errors>) -> Result<Self, Unreadable> {
        Ok(Self { json: Some(Cow::Owned(read.map_err(Unreadable::Malformed)?)), ..self })
    }

    /// The charset that the headers declare for the body; `None` for a GET.
    pub(super) fn declared_charset(&self) -> Option<&'static Encoding> {
        let declared = self.headers.get(CONTENT_TYPE).filter(|_| self.method != Method::GET)?;
        charset_of(declared.to_str().ok()?)
    }

    fn empty(raw: RawRequest<'a>, charset: &'static Encoding) -> Self {
        let RawRequest { method, headers, body, .. } = raw;
        Self { method, headers, parameters: Vec::new(), json: None, batch: None, body, charset }
    }

    /// The same request, without parameters and JSON.
    fn emptied(&self) -> Request<'_> {
        let Self { method, headers, body, charset, .. } = *self;
        Request { method, headers, parameters: Vec::new(), json: None, batch: None, body, charset }
    }

    /// The request that stands for `item`, an item of this request's body; `query` has the parameters of the
    /// query. `None` if the body is not JSON.
    pub(crate) fn item<'s>(&'s self, item: &'s Value, query: &'s Request<'s>) -> Option<Request<'s>> {
        let batch = BatchContext { body: self.json.as_deref()?, query };
        Some(Request { json: Some(Cow::Borrowed(item)), batch: Some(batch), ..self.emptied() })
    }

    /// The request that stands for `item`, a part of this request's JSON.
    pub(super) fn part<'s>(&'s self, item: &'s Value) -> Request<'s> {
        Request { json: Some(Cow::Borrowed(item)), batch: self.batch, ..self.emptied() }
    }

    /// The value that the request calls `name`, of several the last. In a JSON body, a name that is empty or
    /// begins with `/` is a JSON pointer (RFC 6901); any other name is a key of the outermost object. In an
    /// item of a batch, both refer to the item; a name that begins with `^/` is a pointer into the whole
    /// body, and a key that the item does not have is looked up in the query.
    pub fn find(&self, name: &str) -> Found<'_> {
        if self.json.is_some() {
            return match (self.json_value(name), self.batch) {
                (Some(value), _) => scalar_text(value).map_or(Found::NoText, Found::Text),
                (None, Some(batch)) if pointer(name).is_none() => batch.query.find(name),
                (None, _) => Found::Absent,
            };
        }
        match self.parameter(name) {
            Some(parameter) => Found::Text(decode(parameter, self.charset)),
            None => Found::Absent,
        }
    }

    /// The JSON value that the request calls `name`; `None` if there is none, or it is `null`.
    pub(crate) fn json_value(&self, name: &str) -> Option<&Value> {
        let json = self.json.as_deref()?;
        let value = match name.strip_prefix('^').filter(|pointer| pointer.starts_with('/')) {
            Some(pointer) => self.batch.map_or(json, |batch| batch.body).pointer(pointer),
            None if pointer(name).is_some() => json.pointer(name),
            None => json.get(name),
        };
        value.filter(|value| !value.is_null())
    }

    /// The last parameter that the request calls `name`.
    pub fn parameter(&self, name: &str) -> Option<&Parameter<'a>> {
        self.parameters.iter().rev().find(|parameter| parameter.name == name)
    }

    /// The text of the header `name`; `None` if it is absent or not ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

const MEDIA_TYPES: &str = "accepted: application/x-www-form-urlencoded, multipart/form-data, application/json and \
     application/xml";

/// Decodes a value. Bytes that are invalid in the charset become U+FFFD; the charset's byte order mark is
/// removed.
fn decode<'p>(parameter: &'p Parameter<'_>, charset: &'static Encoding) -> Cow<'p, str> {
    parameter.charset.unwrap_or(charset).decode_with_bom_removal(&parameter.raw).0
}

/// A JSON string, number or boolean as text; for an XML element that has attributes, the text in it. `None`
/// for anything else.
pub(super) fn scalar_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(yes) => Some(Cow::Borrowed(if *yes { "true" } else { "false" })),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Object(members) => members.get("#text").and_then(Value::as_str).map(Cow::Borrowed),
        Value::Null | Value::Array(_) => None,
    }
}

#[cfg(test)]
mod tests;
