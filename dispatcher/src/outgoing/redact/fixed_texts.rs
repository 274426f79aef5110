//! Finds the texts that are the same in every request of a backend, and may be secrets.

use super::spellings::without_escapes;
use base64::{Engine, prelude::BASE64_STANDARD};
use postern_config::backend::{
    send::{FormTemplate, JsonTemplate, Send as SendTable},
    template::XmlTemplate,
};
use serde_json::Value;

/// Words of many interfaces. A text with no other words, apart from version numbers, is no secret, and an
/// answer that repeats it stays legible.
const COMMON: [&str; 71] = [
    "accept",
    "account",
    "accounts",
    "api",
    "app",
    "application",
    "basic",
    "batch",
    "bearer",
    "bin",
    "body",
    "bulk",
    "callback",
    "cgi",
    "channel",
    "charset",
    "chat",
    "content",
    "create",
    "default",
    "false",
    "form",
    "gateway",
    "get",
    "html",
    "http",
    "https",
    "id",
    "index",
    "json",
    "mail",
    "message",
    "messages",
    "messaging",
    "mms",
    "msg",
    "normal",
    "number",
    "outbound",
    "outgoing",
    "php",
    "plain",
    "post",
    "public",
    "push",
    "request",
    "rest",
    "send",
    "sender",
    "sendmessage",
    "sendsms",
    "service",
    "services",
    "sms",
    "status",
    "submit",
    "submission",
    "text",
    "textsms",
    "true",
    "type",
    "unicode",
    "url",
    "urlencoded",
    "utf",
    "v",
    "version",
    "whatsapp",
    "www",
    "x",
    "xml",
];

/// The fixed texts of the requests of `table`, without the values of templates.
pub(super) fn of_table(table: &SendTable) -> Vec<String> {
    let mut found = of_url(table.url.source());
    table.defaults.iter().for_each(|template| of_template(template.source(), &mut found));
    for template in table.query.values().chain(table.form.values()) {
        match template {
            FormTemplate::Text(template) => of_template(template.source(), &mut found),
            FormTemplate::Json(template) => of_json(template, &mut found),
        }
    }
    for template in table.headers.values() {
        of_template(template.source(), &mut found);
        pieces(template.source()).iter().for_each(|piece| found.extend(of_header(piece)));
    }
    table.json.iter().for_each(|template| of_json(template, &mut found));
    for text in table.xml.iter().flat_map(XmlTemplate::texts) {
        of_template(&text, &mut found);
    }
    found
}

/// The fixed texts of a URL, which may be a template: its credentials, the segments of its path, the values
/// of its query.
pub(crate) fn of_url(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    for piece in pieces(source) {
        of_url_piece(&piece, &mut found);
    }
    found
}

/// The fixed texts of a header's value: the whole value, each of its words, and the user and the password
/// if a word is Base64, as with `Basic`.
pub(crate) fn of_header(value: &str) -> Vec<String> {
    let mut found = Vec::new();
    keep(value.trim(), &mut found);
    for word in value.split_ascii_whitespace() {
        keep(word, &mut found);
        keep(word.trim_end_matches('='), &mut found);
        let decoded = BASE64_STANDARD.decode(word).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some((user, password)) = decoded.as_deref().and_then(|pair| pair.split_once(':')) {
            keep(user, &mut found);
            keep(password, &mut found);
        }
    }
    found
}

fn of_template(source: &str, found: &mut Vec<String>) {
    for piece in pieces(source) {
        keep(piece.trim(), found);
        // A URL in a parameter, such as one for callbacks.
        if piece.contains(['/', '?', '&', '=']) {
            of_url_piece(&piece, found);
        }
    }
}

fn of_json(template: &JsonTemplate, found: &mut Vec<String>) {
    match template {
        JsonTemplate::Text(template) => of_template(template.source(), found),
        JsonTemplate::Plain(Value::Number(number)) => found.push(number.to_string()),
        JsonTemplate::Plain(_) => {}
        JsonTemplate::List(items) => items.iter().for_each(|item| of_json(item, found)),
        JsonTemplate::Object(table) => table.values().for_each(|item| of_json(item, found)),
    }
}

/// Adds the fixed texts of a piece of a URL. The host is left out: the server that answers knows it, and
/// errors should name it.
fn of_url_piece(piece: &str, found: &mut Vec<String>) {
    let (authority, rest) = match piece.split_once("://") {
        Some((_, rest)) => rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len())),
        None => ("", piece),
    };
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    let parts =
        rest.split(['/', '?', '&', '#']).map(|part| part.split_once('=').map_or(part, |(_, value)| value));
    for part in parts.chain([user]) {
        keep(part, found);
        // `bot123456:TOKEN`, `user:password`.
        part.split(':').for_each(|part| keep(part, found));
    }
}

/// The fixed pieces of a template: the text outside its expressions, and the quoted texts in them.
fn pieces(source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = source;
    while let Some(open) = ["{{", "{%", "{#"].iter().filter_map(|mark| rest.find(mark)).min() {
        let (text, tail) = rest.split_at(open);
        found.push(text.to_owned());
        let close = if tail.starts_with("{{") {
            "}}"
        } else if tail.starts_with("{%") {
            "%}"
        } else {
            "#}"
        };
        let end = tail.find(close).map_or(tail.len(), |at| at + 2);
        literals(&tail[..end], &mut found);
        rest = &tail[end..];
    }
    found.push(rest.to_owned());
    found.retain(|piece| !piece.is_empty());
    found
}

/// Adds the quoted texts of an expression.
fn literals(expression: &str, found: &mut Vec<String>) {
    let mut chars = expression.chars();
    while let Some(quote) = chars.find(|c| matches!(c, '"' | '\'')) {
        let mut text = String::new();
        while let Some(c) = chars.next().filter(|c| *c != quote) {
            text.extend(if c == '\\' { chars.next() } else { Some(c) });
        }
        found.push(text);
    }
}

/// Adds `text`, and its forms without URL escapes, unless it is no secret.
fn keep(text: &str, found: &mut Vec<String>) {
    if text.is_empty() || is_common(text) {
        return;
    }
    found.push(text.to_owned());
    found.extend(without_escapes(text));
}

/// Whether `text` consists of [`COMMON`] words, each followed by at most a short number, or is a date.
fn is_common(text: &str) -> bool {
    let is_number = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> =
        text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect();
    let is_known = |part: &&str| {
        let word = part.trim_end_matches(|c: char| c.is_ascii_digit());
        let short = part.len() - word.len() <= 2;
        short && (word.is_empty() || COMMON.iter().any(|known| known.eq_ignore_ascii_case(word)))
    };
    let is_date =
        parts.iter().map(|part| part.len()).eq([4, 2, 2]) && parts.iter().all(|part| is_number(part));
    is_date || parts.iter().all(is_known) && !parts.iter().all(|part| is_number(part))
}
