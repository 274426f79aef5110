//! Makes a request from a message and a `send` table.

mod content;

use super::scope::Joined;
use crate::outgoing::authorization::authorization;
use content::TextTemplates;
use indexmap::IndexMap;
use minijinja::{Value, value::ValueKind};
use postern_config::{
    KeyProblem,
    backend::{
        send::{FormTemplate, JsonTemplate, Send as SendTable},
        send_auth::SendAuth,
        template::{RenderError, Template},
    },
};
use postern_shared::{error::Failure, value::NOT_A_HEADER_VALUE};
use reqwest::{
    Method, Request, Url,
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
};
use std::time::Duration;
use url::form_urlencoded;

/// The headers about a request's body and connection, which the HTTP client itself sets (RFC 9110, 9112).
const OF_THE_CLIENT: [&str; 4] = ["connection", "content-length", "transfer-encoding", "upgrade"];

/// How requests are built: a `send` table, with everything prepared that can be.
#[derive(Debug)]
pub(super) struct Plan {
    table: SendTable,
    method: Method,
    /// The URL, if it contains no template.
    fixed_url: Option<Url>,
    /// The headers that every request has.
    fixed_headers: HeaderMap,
    headers: Vec<(HeaderName, Template)>,
    /// The templates that must not all be empty. `None` if they cannot be.
    content: Option<TextTemplates>,
    timeout: Duration,
}

impl Plan {
    /// Prepares the requests of `table`.
    ///
    /// # Errors
    /// Every key below the backend's that is wrong, and why.
    pub(super) fn new(table: &SendTable) -> Result<Self, Vec<KeyProblem>> {
        let mut problems: Vec<KeyProblem> = Vec::new();
        let mut problem = |key: String, why: &str| problems.push((key, why.to_owned()));
        let mut fixed_headers = HeaderMap::new();
        let content_type = match () {
            () if table.json.is_some() => Some("application/json"),
            () if table.xml.is_some() => Some("application/xml; charset=utf-8"),
            () if !table.form.is_empty() => Some("application/x-www-form-urlencoded"),
            () => None,
        };
        fixed_headers.extend(content_type.map(|kind| (CONTENT_TYPE, HeaderValue::from_static(kind))));
        let fixed = table.auth.as_ref().and_then(SendAuth::fixed);
        match fixed.as_ref().map(authorization).transpose() {
            Ok(value) => fixed_headers.extend(value.map(|value| (AUTHORIZATION, value))),
            Err((key, why)) => problem(format!("send.{key}"), &why),
        }
        let mut headers = Vec::new();
        for (name, template) in &table.headers {
            let key = || format!("send.headers.{}", name.0);
            if OF_THE_CLIENT.contains(&name.0.as_str()) {
                problem(key(), "must not be set: the HTTP client sets this header itself");
            }
            match name.0.parse() {
                Ok(parsed) => headers.push((parsed, template.clone())),
                Err(_) => problem(key(), "is not a header name"),
            }
        }
        let source = table.url.source();
        let fixed_url = (!source.contains('{')).then(|| Url::parse(source)).transpose();
        let fixed_url = fixed_url.unwrap_or_else(|error| {
            problem("send.url".to_owned(), &format!("not a URL: {error}"));
            None
        });
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            method: method(table),
            fixed_url,
            fixed_headers,
            headers,
            content: TextTemplates::of(table),
            timeout: table.timeout.0,
            table: table.clone(),
        })
    }

    /// The method of every request.
    pub(super) fn method(&self) -> &str {
        self.method.as_str()
    }

    /// Whether TLS may be needed.
    pub(super) fn may_use_tls(&self) -> bool {
        self.fixed_url.as_ref().is_none_or(|url| url.scheme() == "https")
    }

    /// The header that every request has under `name`.
    pub(super) fn fixed_header(&self, name: &HeaderName) -> Option<&str> {
        self.fixed_headers.get(name)?.to_str().ok()
    }

    /// The request with the values of `scope`.
    ///
    /// # Errors
    /// A failure of class `config`: a template fails, gives no URL or header value, or nothing of the
    /// message would be sent. One of class `permanent`: a value makes a path segment `.` or `..`.
    pub(super) fn request(&self, scope: &Value) -> Result<Request, Failure> {
        self.content.as_ref().map_or(Ok(()), |content| content.check(scope))?;
        let mut request = Request::new(self.method.clone(), self.url(scope)?);
        *request.timeout_mut() = Some(self.timeout);
        *request.headers_mut() = self.fixed_headers.clone();
        for (name, template) in &self.headers {
            if let Some(value) =
                template.evaluate(scope).map_err(|why| failed("headers", name.as_str(), &why))?
            {
                let value = header_value(text_of(&value));
                request.headers_mut().insert(name.clone(), value?);
            }
        }
        if let Some(body) = self.body(scope)? {
            *request.body_mut() = Some(body.into());
        }
        Ok(request)
    }

    fn url(&self, scope: &Value) -> Result<Url, Failure> {
        let mut url = match &self.fixed_url {
            Some(url) => url.clone(),
            None => {
                let text = self.table.url.render(scope).map_err(|why| failed("url", "", &why))?;
                if has_dots(&text) {
                    return Err(Failure::permanent(
                        "url",
                        "send.url: a value of the message makes a path segment . or ..",
                    ));
                }
                let url = Url::parse(&text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
                url.ok_or_else(|| {
                    Failure::config("url", "send.url: the result of the template is not an http URL")
                })?
            }
        };
        let (defaults, no_body) = (self.table.defaults.as_ref(), !self.table.has_body());
        if !self.table.query.is_empty() || no_body && defaults.is_some() {
            let defaults = defaults.filter(|_| no_body);
            let parameters = parameters(defaults, &self.table.query, "query", scope)?;
            let query = match url.query() {
                Some(before) if !before.is_empty() => format!("{before}&{parameters}"),
                _ => parameters,
            };
            url.set_query(Some(&query));
        }
        if url.query() == Some("") {
            url.set_query(None);
        }
        Ok(url)
    }

    fn body(&self, scope: &Value) -> Result<Option<Vec<u8>>, Failure> {
        if let Some(json) = &self.table.json {
            let written = serde_json::to_vec(&self.json(json, scope)?);
            let wrong = |_| Failure::config("template", "send.json: cannot be written as JSON");
            return written.map(Some).map_err(wrong);
        }
        if let Some(xml) = &self.table.xml {
            let written = xml.render(scope).map_err(|why| failed("xml", "", &why))?;
            return Ok(Some(written.into_bytes()));
        }
        if self.table.form.is_empty() {
            return Ok(None);
        }
        let form = parameters(self.table.defaults.as_ref(), &self.table.form, "form", scope)?;
        Ok(Some(form.into_bytes()))
    }

    /// The JSON body: a table, which overrides the defaults, or a list.
    fn json(&self, json: &JsonTemplate, scope: &Value) -> Result<serde_json::Value, Failure> {
        let JsonTemplate::Object(templates) = json else {
            return Ok(json_value("", json, scope)?.unwrap_or_else(|| serde_json::Value::Array(Vec::new())));
        };
        let mut object = default_values(self.table.defaults.as_ref(), scope)?;
        object.extend(json_object(templates, scope)?);
        Ok(object.into())
    }
}

/// Whether the path of `url` has a segment `.` or `..`, which leads elsewhere. Percent-encoding does not
/// help: it means the same (WHATWG URL, "double-dot URL path segment").
fn has_dots(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.split('/').any(|segment| {
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        plain == "." || plain == ".."
    })
}

/// The parameters, encoded for a query or a form: those of `defaults` that `templates` do not set, then
/// those of `templates`.
fn parameters(
    defaults: Option<&Template>,
    templates: &IndexMap<String, FormTemplate>,
    key: &str,
    scope: &Value,
) -> Result<String, Failure> {
    let mut given: Vec<(String, Vec<u8>)> = Vec::new();
    each_parameter(templates, key, scope, |name, value| given.push((name.to_owned(), value.to_vec())))?;
    let defaults = default_values(defaults, scope)?;
    let own = defaults.iter().filter(|(name, _)| !given.iter().any(|(given, _)| given == *name));
    let own = own.map(|(name, value)| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (name.clone(), text.into_bytes())
    });
    let own: Vec<_> = own.collect();
    let all = || own.iter().chain(&given);
    // Half as much again, for the escapes of a text in Latin letters.
    let room = all().map(|(name, value)| name.len() + 2 + value.len() * 3 / 2).sum();
    let mut written = String::with_capacity(room);
    for (name, value) in all() {
        if !written.is_empty() {
            written.push('&');
        }
        written.extend(form_urlencoded::byte_serialize(name.as_bytes()));
        written.push('=');
        written.extend(form_urlencoded::byte_serialize(value));
    }
    Ok(written)
}

/// The table that `defaults` makes, without null values.
fn default_values(
    defaults: Option<&Template>,
    scope: &Value,
) -> Result<serde_json::Map<String, serde_json::Value>, Failure> {
    let value = defaults.map(|template| template.evaluate(scope)).transpose();
    let Some(value) = value.map_err(|why| failed("defaults", "", &why))?.flatten() else {
        return Ok(serde_json::Map::new());
    };
    match serde_json::to_value(&value) {
        Ok(serde_json::Value::Object(mut table)) => {
            table.retain(|_, value| !value.is_null());
            Ok(table)
        }
        _ => Err(Failure::config("template", "send.defaults: the result of the template is not a table")),
    }
}

fn method(table: &SendTable) -> Method {
    use postern_config::backend::send::SendMethod;
    match table.method {
        SendMethod::Get => Method::GET,
        SendMethod::Post => Method::POST,
        SendMethod::Put => Method::PUT,
        SendMethod::Patch => Method::PATCH,
    }
}

/// Calls `add` with each parameter: once for each item of a list, and never for a parameter without a
/// value.
fn each_parameter(
    templates: &IndexMap<String, FormTemplate>,
    key: &str,
    scope: &Value,
    mut add: impl FnMut(&str, &[u8]),
) -> Result<(), Failure> {
    for (name, template) in templates {
        let template = match template {
            FormTemplate::Text(template) => template,
            FormTemplate::Json(json) => {
                if let Some(json) = json_value(name, json, scope)? {
                    add(name, json.to_string().as_bytes());
                }
                continue;
            }
        };
        let Some(value) = template.evaluate(scope).map_err(|why| failed(key, name, &why))? else {
            continue;
        };
        let is_list = matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable);
        match value.try_iter() {
            Ok(items) if is_list && Joined::text_of(&value).is_none() => {
                items.for_each(|item| add(name, text_of(&item).as_bytes()));
            }
            _ => match value.as_bytes() {
                Some(bytes) => add(name, bytes),
                None => add(name, text_of(&value).as_bytes()),
            },
        }
    }
    Ok(())
}

fn json_object(
    templates: &IndexMap<String, JsonTemplate>,
    scope: &Value,
) -> Result<serde_json::Map<String, serde_json::Value>, Failure> {
    let mut object = serde_json::Map::new();
    for (name, template) in templates {
        if let Some(value) = json_value(name, template, scope)? {
            object.insert(name.clone(), value);
        }
    }
    Ok(object)
}

/// The JSON value of a template. `None` leaves its key out: the template has no value, or no item of its
/// object or list has one.
fn json_value(
    name: &str,
    template: &JsonTemplate,
    scope: &Value,
) -> Result<Option<serde_json::Value>, Failure> {
    Ok(match template {
        JsonTemplate::Plain(value) => Some(value.clone()),
        JsonTemplate::Object(templates) => {
            let object = json_object(templates, scope)?;
            (templates.is_empty() || !object.is_empty()).then(|| object.into())
        }
        JsonTemplate::List(items) => {
            let mut list = Vec::new();
            for item in items {
                list.extend(json_value(name, item, scope)?);
            }
            (items.is_empty() || !list.is_empty()).then(|| list.into())
        }
        JsonTemplate::Text(template) => {
            let value = template.evaluate(scope).map_err(|why| failed("json", name, &why))?;
            value.map(|value| match Joined::text_of(&value).or(value.as_str()) {
                Some(text) => text.into(),
                None => serde_json::to_value(&value).unwrap_or_else(|_| value.to_string().into()),
            })
        }
    })
}

/// `value` as the text of a parameter. `none` within a list is an empty text.
fn text_of(value: &Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None if value.is_none() => String::new(),
        None => value.to_string(),
    }
}

/// `text` as a header's value. Control characters become spaces, so that no value begins another header
/// (RFC 9110, 5.5).
fn header_value(mut text: String) -> Result<HeaderValue, Failure> {
    if text.chars().any(|c| c.is_ascii_control()) {
        text = text.replace(|c: char| c.is_ascii_control(), " ");
    }
    HeaderValue::from_bytes(text.trim().as_bytes())
        .map_err(|_| Failure::config("header", format!("send.headers: a value {NOT_A_HEADER_VALUE}")))
}

fn failed(key: &str, name: &str, why: &RenderError) -> Failure {
    let dot = if name.is_empty() { "" } else { "." };
    Failure::config("template", format!("send.{key}{dot}{name}: {why}"))
}

#[cfg(test)]
mod tests;
