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

/// What a body that is a text is called.
const BODY: &str = "body";

/// A value that was asked for.
#[derive(Clone, PartialEq, Eq)]
pub enum Found<'r> {
    /// It is not there, or is JSON's `null`.
    Absent,
    /// Its text; a JSON number or boolean as it is written, a whole number without fraction and exponent.
    Text(Cow<'r, str>),
    /// A JSON array or object.
    NoText,
}

/// A request that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// Its body is of a kind that no form reads: 415, with what is wrong.
    MediaType(String),
    /// It breaks a limit, or is not what its `Content-Type` says: 400.
    Malformed(Errors),
}

/// A request as it came.
#[derive(Clone, Copy)]
pub struct RawRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The query of the address, without the question mark.
    pub query: &'a str,
    /// The body. Empty for a GET.
    pub body: &'a Bytes,
}

impl<'a> RawRequest<'a> {
    /// `request`, whose body was read.
    pub fn of(request: &'a HttpRequest, body: &'a Bytes) -> Self {
        let (method, headers, query) = (request.method(), request.headers(), request.query_string());
        Self { method, headers, query, body }
    }

    /// What the body is declared as; empty if it is not.
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
    /// The parameters in their order: of the query for a GET, else of the body. None where the
    /// body is JSON.
    pub parameters: Vec<Parameter<'a>>,
    /// The body, where it is JSON, or the JSON that stands for XML; of a batch (`receive.each`) the item that this
    /// request stands for.
    pub json: Option<Cow<'a, Value>>,
    /// What is around the item of a batch.
    pub batch: Option<BatchContext<'a>>,
    /// The body as it came.
    pub body: &'a Bytes,
    /// The charset of the parameters: `receive.charset`, else the one that `Content-Type` declares, else
    /// UTF-8.
    pub charset: &'static Encoding,
}

/// What is around one item of a batch.
#[derive(Clone, Copy)]
pub struct BatchContext<'a> {
    /// The whole body.
    pub body: &'a Value,
    /// The parameters of the query.
    pub query: &'a Request<'a>,
}

/// Hides what the request says.
impl fmt::Debug for RawRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RawRequest({}, {} bytes)", self.method, self.body.len())
    }
}

/// Hides what the request says.
impl fmt::Debug for BatchContext<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchContext").finish_non_exhaustive()
    }
}

/// Hides what the request says.
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
    /// Reads `raw`, whose body is what `format` says if it is set, or else its `Content-Type`. `charset` is
    /// `receive.charset`: it overrules what the headers and XML declare, and is tried for JSON that is not UTF-8.
    ///
    /// A GET has its parameters in the query; any other method in the body, or, if that has none, in the query. An
    /// empty body has none, whatever it is declared as.
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

    /// A body that is what its `Content-Type` says.
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

    /// A form: multipart if it is declared so, else urlencoded.
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

    /// A text: it is the parameter `body`, and the others stand in the query.
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

    /// The same without what it says.
    fn emptied(&self) -> Request<'_> {
        let Self { method, headers, body, charset, .. } = *self;
        Request { method, headers, parameters: Vec::new(), json: None, batch: None, body, charset }
    }

    /// The request that `item` of this one's body would be alone; `query` has the parameters of the query.
    /// `None` if the body is not JSON.
    pub(crate) fn item<'s>(&'s self, item: &'s Value, query: &'s Request<'s>) -> Option<Request<'s>> {
        let batch = BatchContext { body: self.json.as_deref()?, query };
        Some(Request { json: Some(Cow::Borrowed(item)), batch: Some(batch), ..self.emptied() })
    }

    /// The request that `item`, a part of this one's JSON, would be alone.
    pub(super) fn part<'s>(&'s self, item: &'s Value) -> Request<'s> {
        Request { json: Some(Cow::Borrowed(item)), batch: self.batch, ..self.emptied() }
    }

    /// The value that the request calls `name`, of several the last. In a JSON body a name that
    /// begins with `/`, and the empty one, is a JSON pointer (RFC 6901), any other a key of the outermost object. In
    /// an item of a batch both are the item's; one that begins with `^/` is a pointer into the whole body, and a
    /// key that the item does not have is a parameter of the query.
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

    /// The text of the header `name`; `None` where it is absent or not ASCII.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

const MEDIA_TYPES: &str = "accepted are application/x-www-form-urlencoded, multipart/form-data, application/json and \
     application/xml";

/// Bytes that are none in the charset become U+FFFD; a byte order mark of the charset goes.
fn decode<'p>(parameter: &'p Parameter<'_>, charset: &'static Encoding) -> Cow<'p, str> {
    parameter.charset.unwrap_or(charset).decode_with_bom_removal(&parameter.raw).0
}

/// A JSON text, number or boolean as text; of an XML element that has attributes, the text in it.
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
