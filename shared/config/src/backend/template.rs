//! Values of an outgoing request, as templates over the message.
//!
//! The language is Jinja (minijinja). Most templates consist only of text and names and are rendered without
//! minijinja: an environment for each template would cost too much memory with a thousand backends.

mod usage;
mod xml;

use super::userinfo;
use encoding_rs::mem::decode_latin1;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, value::ValueKind};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use postern_shared::suggest;
use serde::{Deserialize, Deserializer, de};
use sha2::{Digest as _, Sha256};
use std::{fmt, sync::Arc};
pub use usage::{Use, uses};
pub use xml::XmlTemplate;

/// The names that a template may use.
pub const NAMES: [&str; 11] = [
    "id",
    "backend",
    "identity",
    "identities",
    "text",
    "encoded",
    "media",
    "context",
    "settings",
    "status_url",
    "status_path",
];

/// All characters except those that are never encoded: the unreserved ones of RFC 3986, 2.3, and the colon, which
/// has no meaning in a path or a query, and which no client encodes in the token of a Telegram bot.
const NOT_UNRESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

/// The name of the helper template that sets `value` to the value of the whole.
const EXPRESSION: &str = "expression";

/// The most work for rendering one template, in minijinja's units of about one instruction each.
const FUEL: u64 = 100_000;

/// A template whose values are inserted unchanged. The code that builds the request encodes the whole.
#[derive(Clone)]
pub struct Template {
    source: Arc<str>,
    program: TemplateProgram,
}

/// A template for a URL. Each value is percent-encoded, so that it cannot leave its path segment or parameter.
/// Only a setting at the beginning of the URL is inserted unchanged.
#[derive(Clone, Debug)]
pub struct UrlTemplate {
    source: Arc<str>,
    /// `{{ settings.… }}` at the very beginning: scheme, host, port, and perhaps more.
    base: Option<Template>,
    rest: Template,
}

#[derive(Clone)]
enum TemplateProgram {
    Pieces(Arc<[Piece]>, Escape),
    Jinja(Arc<Environment<'static>>),
    /// The same with the helper template [`EXPRESSION`].
    Expression(Arc<Environment<'static>>),
}

enum Piece {
    Text(String),
    Name(Vec<String>),
}

#[derive(Clone, Copy, PartialEq)]
enum Escape {
    None,
    Url,
    Xml,
}

impl Escape {
    fn write(self, text: &str, out: &mut String) {
        match self {
            Self::None => out.push_str(text),
            Self::Url => out.extend(utf8_percent_encode(text, NOT_UNRESERVED)),
            Self::Xml => xml::escape(text, out),
        }
    }
}

/// A template that failed on a message, such as by a wrong filter argument or too much work.
#[derive(Debug, thiserror::Error)]
#[error("the template failed: {0}")]
pub struct RenderError(String);

impl RenderError {
    /// The error of a template over bytes whose result is not bytes.
    pub(super) fn no_bytes() -> Self {
        Self("a filter produced characters that are not bytes".to_owned())
    }
}

impl Template {
    /// Compiles `source`.
    ///
    /// # Errors
    /// A syntax error, or a name outside [`NAMES`], as a text for the user.
    pub fn parse(source: &str) -> Result<Self, String> {
        Self::compile(source, &NAMES, Escape::None)
    }

    /// Like [`parse`](Self::parse), for a template that may use only `names`.
    ///
    /// # Errors
    /// A text for the user.
    pub(super) fn seeing(source: &str, names: &[&str]) -> Result<Self, String> {
        Self::compile(source, names, Escape::None)
    }

    /// Like [`seeing`](Self::seeing), for a template over bytes: each byte is the character with its number, in
    /// the values, in the result, and in the template itself. The filter `sha256` makes their SHA-256 in
    /// hexadecimal digits.
    ///
    /// # Errors
    /// A text for the user.
    pub(super) fn over_bytes(source: &str, names: &[&str]) -> Result<Self, String> {
        let mut jinja = Environment::new();
        jinja.add_filter("sha256", |bytes: &str| {
            let bytes: Vec<u8> = bytes.chars().filter_map(|it| u8::try_from(it).ok()).collect();
            Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
        });
        Self::compile_in(jinja, &decode_latin1(source.as_bytes()), names, Escape::None)
    }

    fn compile(source: &str, names: &[&str], escape: Escape) -> Result<Self, String> {
        Self::compile_in(Environment::new(), source, names, escape)
    }

    fn compile_in(
        mut jinja: Environment<'static>,
        source: &str,
        names: &[&str],
        escape: Escape,
    ) -> Result<Self, String> {
        jinja.set_undefined_behavior(UndefinedBehavior::Chainable);
        jinja.set_auto_escape_callback(|_| AutoEscape::None);
        jinja.set_fuel(Some(FUEL));
        jinja.add_filter("hex", hex);
        jinja.set_formatter(move |out, _, value| {
            let mut escaped = String::new();
            escape.write(&text_of(value), &mut escaped);
            out.write_str(&escaped).map_err(Into::into)
        });
        jinja
            .add_template_owned("value", source.to_owned())
            .map_err(|error| format!("not a template: {}", error.detail().unwrap_or("wrong syntax")))?;
        let used = jinja.get_template("value").map(|template| template.undeclared_variables(false));
        let mut unknown: Vec<_> =
            used.unwrap_or_default().into_iter().filter(|name| !names.contains(&name.as_str())).collect();
        if !unknown.is_empty() {
            unknown.sort();
            let hint = unknown.first().map(|name| suggest::hint(name, names.iter().copied()));
            return Err(format!(
                "unknown name {}; a template can use {}{}",
                unknown.join(", "),
                names.join(", "),
                hint.unwrap_or_default()
            ));
        }
        if let Some(why) = usage::problem(source, &jinja, names) {
            return Err(why);
        }
        let program = match pieces(source) {
            Some(pieces) => TemplateProgram::Pieces(pieces.into(), escape),
            None => {
                let set = lone_expression(source).map(|lone| format!("{{% set value = ({lone}) %}}"));
                let lone = set.is_some_and(|set| jinja.add_template_owned(EXPRESSION, set).is_ok());
                let jinja = Arc::new(jinja);
                if lone { TemplateProgram::Expression(jinja) } else { TemplateProgram::Jinja(jinja) }
            }
        };
        Ok(Self { source: source.into(), program })
    }

    /// The names that `source` uses.
    fn names(source: &str) -> Result<Vec<String>, String> {
        let mut jinja = Environment::new();
        let wrong = |error: minijinja::Error| error.kind().to_string();
        jinja.add_template("value", source).map_err(wrong)?;
        let template = jinja.get_template("value").map_err(wrong)?;
        Ok(template.undeclared_variables(false).into_iter().collect())
    }

    /// The template as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The setting's name, if the template is `{{ settings.NAME }}` and nothing else.
    pub(crate) fn setting(&self) -> Option<&str> {
        match &self.program {
            TemplateProgram::Pieces(pieces, _) => match &**pieces {
                [Piece::Name(path)] if path[0] == "settings" && path.len() == 2 => Some(&path[1]),
                _ => None,
            },
            _ => None,
        }
    }

    /// The text for the message that `scope` holds.
    ///
    /// # Errors
    /// [`RenderError`]; never for a template of text and names alone.
    pub fn render(&self, scope: &Value) -> Result<String, RenderError> {
        match &self.program {
            TemplateProgram::Pieces(pieces, escape) => {
                Ok(pieces.iter().fold(String::new(), |mut out, piece| {
                    match piece {
                        Piece::Text(text) => out.push_str(text),
                        Piece::Name(path) => escape.write(&text_of(&look_up(scope, path)), &mut out),
                    }
                    out
                }))
            }
            TemplateProgram::Jinja(jinja) | TemplateProgram::Expression(jinja) => {
                let rendered = jinja.get_template("value").and_then(|template| template.render(scope));
                rendered.map_err(|error| RenderError(error.kind().to_string()))
            }
        }
    }

    /// The value for the message that `scope` holds. A template of only one name or expression keeps the
    /// value's type (a list, a number). `None` if there is no value (`{{ 31 if status_url }}` without a
    /// `status_url`): then the parameter is left out. Any other template makes a text.
    ///
    /// # Errors
    /// [`RenderError`]; never for a template of text and names alone.
    pub fn evaluate(&self, scope: &Value) -> Result<Option<Value>, RenderError> {
        match &self.program {
            TemplateProgram::Pieces(pieces, _) if let [Piece::Name(path)] = &**pieces => {
                let value = look_up(scope, path);
                Ok((!value.is_undefined() && !value.is_none()).then_some(value))
            }
            TemplateProgram::Expression(jinja) => {
                let captured =
                    jinja.get_template(EXPRESSION).and_then(|lone| lone.render_captured(scope.clone()));
                let captured = captured.map_err(|error| RenderError(error.kind().to_string()))?;
                let value = captured.state().lookup("value").unwrap_or_default();
                Ok((!value.is_undefined() && !value.is_none()).then_some(value))
            }
            _ => self.render(scope).map(|text| Some(text.into())),
        }
    }
}

impl UrlTemplate {
    /// Compiles `source`, which must be an absolute `http` or `https` URL. Its scheme, host and port may hold
    /// no value of the message: a message cannot choose where it goes.
    ///
    /// # Errors
    /// A text for the user.
    pub fn parse(source: &str) -> Result<Self, String> {
        Self::seeing(source, &NAMES)
    }

    /// Like [`parse`](Self::parse), for a template that may use only `names`.
    ///
    /// # Errors
    /// A text for the user.
    pub fn seeing(source: &str, names: &[&str]) -> Result<Self, String> {
        let rest = ["http://", "https://"].iter().find_map(|scheme| source.strip_prefix(scheme));
        let whole_from_settings = source.starts_with("{{");
        let authority = match rest {
            Some(rest) => rest.split(['/', '?', '#']).next().unwrap_or_default(),
            None if whole_from_settings => source.split("}}").next().unwrap_or_default(),
            None => return Err("must begin with http:// or https://".to_owned()),
        };
        if authority.is_empty() {
            return Err("names no host".to_owned());
        }
        if !names.contains(&"settings") && authority.contains(['{', '}']) {
            return Err("its host must not contain a template: a value must not choose where a request goes"
                .to_owned());
        }
        if !authority.contains("{{") {
            let plain = source.split("{{").next().unwrap_or_default();
            url::Url::parse(plain).map_err(|error| format!("not a URL: {error}"))?;
        }
        let end_of_base = source.find("}}").map_or(source.len(), |at| at + 2);
        let (base, rest) = source.split_at(if whole_from_settings { end_of_base } else { 0 });
        let up_to_path = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let authority = if whole_from_settings { [base, up_to_path].concat() } else { authority.to_owned() };
        let settings_only = |names: Vec<String>| names.iter().all(|name| name == "settings");
        if authority.contains("{%") || !Template::names(&authority).is_ok_and(settings_only) {
            return Err("its host may contain {{ settings.… }}, but no value of the message".to_owned());
        }
        if userinfo::has_user(&authority) {
            return Err(userinfo::belongs_into("auth"));
        }
        let base = (!base.is_empty()).then(|| Template::compile(base, names, Escape::None)).transpose()?;
        Ok(Self { source: source.into(), base, rest: Template::compile(rest, names, Escape::Url)? })
    }

    /// The URL for the message that `scope` holds, not parsed yet.
    ///
    /// # Errors
    /// [`RenderError`]
    pub fn render(&self, scope: &Value) -> Result<String, RenderError> {
        let rest = self.rest.render(scope)?;
        match &self.base {
            Some(base) => Ok(base.render(scope)? + &rest),
            None => Ok(rest),
        }
    }

    /// The URL as it was written.
    pub fn source(&self) -> &str {
        &self.source
    }
}

/// The parts of a template that consists only of text and names. `None` for any other template.
fn pieces(source: &str) -> Option<Vec<Piece>> {
    if source.contains("{%") || source.contains("{#") {
        return None;
    }
    let mut pieces = Vec::new();
    let mut rest = source;
    while let Some((text, tail)) = rest.split_once("{{") {
        let (name, tail) = tail.split_once("}}")?;
        let path: Vec<String> = name.trim().split('.').map(str::to_owned).collect();
        let is_name = |part: &String| {
            let mut bytes = part.bytes();
            bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
                && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if !path.iter().all(is_name) {
            return None;
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        pieces.push(Piece::Name(path));
        rest = tail;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.strip_suffix('\n').unwrap_or(rest).to_owned()));
    }
    Some(pieces)
}

/// The expression in a template that is one `{{ … }}` and nothing else.
fn lone_expression(source: &str) -> Option<&str> {
    let inner = source.strip_prefix("{{")?.strip_suffix("}}")?;
    (!["{{", "}}", "{%", "{#"].iter().any(|mark| inner.contains(mark))).then_some(inner)
}

fn look_up(scope: &Value, path: &[String]) -> Value {
    path.iter().fold(scope.clone(), |value, part| value.get_attr(part).unwrap_or_default())
}

fn text_of(value: &Value) -> String {
    match value.kind() {
        ValueKind::Undefined | ValueKind::None => String::new(),
        _ => value.to_string(),
    }
}

/// The filter `hex`: the bytes of `encoded.text`, or of a text in UTF-8, with two digits each.
fn hex(value: &Value) -> String {
    let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match value.as_bytes() {
        Some(bytes) => digits(bytes),
        None => digits(text_of(value).as_bytes()),
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.source).finish()
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for UrlTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
