//! A provider's request, parsed and not yet cleaned.

use super::{
    errors::Errors,
    json::{is_json, read_json},
    multipart,
    parameter::{Parameter, ParameterLimits, charset_of},
    urlencoded,
    xml::{is_xml, read_xml},
};
use actix_web::http::{
    Method,
    header::{CONTENT_TYPE, HeaderMap},
};
use bytes::Bytes;
use encoding_rs::Encoding;
use postern_config::backend::batch::pointer;
use serde_json::Value;
use std::{borrow::Cow, fmt};

/// What [`Request::parse_text`] calls the text.
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
    /// Reads a request. `charset` is `receive.charset`: it overrules what the headers declare.
    ///
    /// A GET has its parameters in `query`; any other method in `body`, or, if that has none, in `query`. An
    /// empty body has none, whatever it is declared as.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn parse(
        method: &'a Method,
        headers: &'a HeaderMap,
        query: &'a str,
        body: &'a Bytes,
        charset: Option<&'static Encoding>,
        limits: &ParameterLimits,
    ) -> Result<Self, Unreadable> {
        let malformed = Unreadable::Malformed;
        let mut request = Self::empty(method, headers, body, charset.unwrap_or(encoding_rs::UTF_8));
        if method == Method::GET {
            request.parameters = urlencoded::parse(query.as_bytes(), limits).map_err(malformed)?;
            return Ok(request);
        }
        let declared = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("?"));
        let declared = declared.unwrap_or_default().trim();
        let essence = declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        request.charset = charset.or_else(|| charset_of(declared)).unwrap_or(encoding_rs::UTF_8);
        if body.is_empty() && !query.is_empty() {
            request.parameters = urlencoded::parse(query.as_bytes(), limits).map_err(malformed)?;
            return Ok(request);
        }
        match essence.as_str() {
            "" | "application/x-www-form-urlencoded" => {
                request.parameters = urlencoded::parse(body, limits).map_err(malformed)?;
            }
            "multipart/form-data" => {
                request.parameters = multipart::parse(declared, body, limits).map_err(malformed)?;
                if charset.is_some() {
                    request.parameters.iter_mut().for_each(|part| part.charset = None);
                }
            }
            json if is_json(json) => {
                let json = read_json(body, charset.or_else(|| charset_of(declared)), limits);
                request.json = Some(Cow::Owned(json.map_err(malformed)?));
            }
            xml if is_xml(xml) => {
                let xml = read_xml(body, charset.or_else(|| charset_of(declared)), limits);
                request.json = Some(Cow::Owned(xml.map_err(malformed)?));
            }
            _ => return Err(Unreadable::MediaType(MEDIA_TYPES.to_owned())),
        }
        if request.parameters.is_empty() && request.json.is_none() {
            request.parameters = urlencoded::parse(query.as_bytes(), limits).map_err(malformed)?;
        }
        Ok(request)
    }

    /// Reads a request whose body is JSON, whatever its `Content-Type` says. `charset` is tried for what is not
    /// UTF-8.
    ///
    /// # Errors
    /// [`Unreadable::Malformed`]
    pub fn parse_json(
        method: &'a Method,
        headers: &'a HeaderMap,
        body: &'a Bytes,
        charset: Option<&'static Encoding>,
        limits: &ParameterLimits,
    ) -> Result<Self, Unreadable> {
        let json = read_json(body, charset, limits).map_err(Unreadable::Malformed)?;
        let request = Self::empty(method, headers, body, encoding_rs::UTF_8);
        Ok(Self { json: Some(Cow::Owned(json)), ..request })
    }

    /// Reads a request whose body is XML, whatever its `Content-Type` says of its kind. `charset` overrules what
    /// that says and what the body declares.
    ///
    /// # Errors
    /// [`Unreadable::Malformed`]
    pub fn parse_xml(
        method: &'a Method,
        headers: &'a HeaderMap,
        body: &'a Bytes,
        charset: Option<&'static Encoding>,
        limits: &ParameterLimits,
    ) -> Result<Self, Unreadable> {
        let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let charset = charset.or_else(|| charset_of(declared));
        let xml = read_xml(body, charset, limits).map_err(Unreadable::Malformed)?;
        let request = Self::empty(method, headers, body, encoding_rs::UTF_8);
        Ok(Self { json: Some(Cow::Owned(xml)), ..request })
    }

    /// Reads a request whose body is a form, whatever its `Content-Type` says: multipart if it is declared so,
    /// else urlencoded.
    ///
    /// # Errors
    /// [`Unreadable`]
    pub fn parse_form(
        method: &'a Method,
        headers: &'a HeaderMap,
        query: &'a str,
        body: &'a Bytes,
        charset: Option<&'static Encoding>,
        limits: &ParameterLimits,
    ) -> Result<Self, Unreadable> {
        let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = declared.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("multipart/form-data") {
            return Self::parse(method, headers, query, body, charset, limits);
        }
        let charset = charset.or_else(|| charset_of(declared)).unwrap_or(encoding_rs::UTF_8);
        let mut request = Self::empty(method, headers, body, charset);
        let form = if body.is_empty() { query.as_bytes() } else { body };
        request.parameters = urlencoded::parse(form, limits).map_err(Unreadable::Malformed)?;
        Ok(request)
    }

    /// Reads a request whose body is a text, whatever its `Content-Type` says: it is the parameter
    /// `body`, and the others stand in `query`.
    ///
    /// # Errors
    /// [`Unreadable::Malformed`]
    pub fn parse_text(
        method: &'a Method,
        headers: &'a HeaderMap,
        query: &'a str,
        body: &'a Bytes,
        charset: Option<&'static Encoding>,
        limits: &ParameterLimits,
    ) -> Result<Self, Unreadable> {
        let mut request = Self::empty(method, headers, body, charset.unwrap_or(encoding_rs::UTF_8));
        request.parameters = urlencoded::parse(query.as_bytes(), limits).map_err(Unreadable::Malformed)?;
        limits.sizes(BODY, body.len()).map_err(Unreadable::Malformed)?;
        let charset = charset.or_else(|| request.declared_charset());
        request.parameters.push(Parameter { name: Cow::Borrowed(BODY), raw: Cow::Borrowed(body), charset });
        Ok(request)
    }

    /// The charset that the headers declare for the body; `None` for a GET.
    pub(super) fn declared_charset(&self) -> Option<&'static Encoding> {
        let declared = self.headers.get(CONTENT_TYPE).filter(|_| self.method != Method::GET)?;
        charset_of(declared.to_str().ok()?)
    }

    fn empty(
        method: &'a Method,
        headers: &'a HeaderMap,
        body: &'a Bytes,
        charset: &'static Encoding,
    ) -> Self {
        Self { method, headers, parameters: Vec::new(), json: None, batch: None, body, charset }
    }

    /// The request that `item` of this one's body would be alone; `query` has the parameters of the query.
    /// `None` if the body is not JSON.
    pub(crate) fn item<'s>(&'s self, item: &'s Value, query: &'s Request<'s>) -> Option<Request<'s>> {
        let batch = BatchContext { body: self.json.as_deref()?, query };
        let request = Request::empty(self.method, self.headers, self.body, self.charset);
        Some(Request { json: Some(Cow::Borrowed(item)), batch: Some(batch), ..request })
    }

    /// The request that `item`, a part of this one's JSON, would be alone.
    pub(super) fn part<'s>(&'s self, item: &'s Value) -> Request<'s> {
        let request = Request::empty(self.method, self.headers, self.body, self.charset);
        Request { json: Some(Cow::Borrowed(item)), batch: self.batch, ..request }
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

const MEDIA_TYPES: &str =
    "taken are application/x-www-form-urlencoded, multipart/form-data, application/json and application/xml";

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
