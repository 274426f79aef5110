//! Errors for a text that is not TOML, which say what to do about it.
//!
//! A value is never quoted: it may be a secret.

use crate::{
    lines::{LineStarts, Lines, join},
    problem::Problem,
};
use std::ops::Range;
use toml::de::Error;

/// Quotation marks that word processors and chats put in place of straight ones.
const CURLY: [char; 13] = ['“', '”', '„', '‟', '«', '»', '‘', '’', '‚', '‛', '″', '′', '＂'];
/// Characters that look like a space or are invisible, but are not white space in TOML.
const INVISIBLE: [char; 8] =
    ['\u{a0}', '\u{2007}', '\u{202f}', '\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}'];

/// Every mistake in `text`, whose lines begin at `starts`: one for each line. `errors` are the parser's; `lines`
/// are those of the keys that it could read.
pub(crate) fn problems(text: &str, errors: &[Error], starts: &LineStarts, lines: &Lines) -> Vec<Problem> {
    if let Some(what) = other_format(text) {
        return vec![Problem { key: String::new(), line: Some(1), what: what.to_owned() }];
    }
    let mut problems: Vec<Problem> = Vec::new();
    for error in errors {
        let problem = match error.span() {
            Some(span) => problem(text, error, starts.line_at(span.start), span, lines),
            None => Problem { key: String::new(), line: None, what: plain(error) },
        };
        if problems.iter().all(|known| known.line != problem.line) {
            problems.push(problem);
        }
    }
    problems.sort_by_key(|problem| problem.line);
    problems
}

/// The problem for the `error` at `span`, which begins in `line`.
fn problem(text: &str, error: &Error, line: usize, span: Range<usize>, lines: &Lines) -> Problem {
    let here = text.lines().nth(line - 1).unwrap_or_default();
    let (key, what) = match error.message() {
        "duplicate key" => duplicate(text, line, span, lines),
        message => (String::new(), advice(here, message).unwrap_or_else(|| plain(error))),
    };
    Problem { key, line: Some(line), what }
}

fn plain(error: &Error) -> String {
    error.message().replace('\n', ", ")
}

/// The error for a file in another format, judged by its first meaningful line.
fn other_format(text: &str) -> Option<&'static str> {
    let first = text.trim_start_matches('\u{feff}').lines().map(str::trim);
    let first = first.into_iter().find(|line| !line.is_empty() && !line.starts_with('#'))?;
    if first.starts_with('{') {
        return Some("looks like JSON: the configuration is TOML, such as [broker] and then url = \"…\"");
    }
    if first.starts_with('<') {
        return Some("looks like XML: the configuration is TOML, such as [broker] and then url = \"…\"");
    }
    let is_key = |key: &str| {
        !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.\"'".contains(&b))
    };
    let mapping = first.split_once(':').is_some_and(|(key, rest)| {
        is_key(key) && (rest.is_empty() || rest.starts_with(' ')) && !first.starts_with('[')
    });
    (mapping || first == "---" || first.starts_with("%YAML"))
        .then_some("looks like YAML: the configuration is TOML, such as [broker] and then url = \"…\"")
}

/// The advice for the parser's `message` about the line `here`.
fn advice(here: &str, message: &str) -> Option<String> {
    let column = |found: &[char]| here.chars().position(|c| found.contains(&c)).map(|at| at + 1);
    if let Some(column) = column(&CURLY) {
        return Some(format!(
            "curly quotes in column {column}: a string needs straight quotes, \"…\" or '…'"
        ));
    }
    if let Some(column) = column(&INVISIBLE) {
        let what = "an invisible character that is not a plain space: delete it and type a space";
        return Some(format!("column {column}: {what}"));
    }
    let trimmed = here.trim_start();
    if trimmed.starts_with(';') || trimmed.starts_with("//") {
        return Some("a comment begins with #".to_owned());
    }
    if message.starts_with("string values must be quoted") {
        return Some("a string needs quotes: key = \"…\"".to_owned());
    }
    if message.starts_with("invalid boolean") {
        return Some("must be true or false, in lower case and without quotes".to_owned());
    }
    if message.starts_with("key with no value") {
        return Some("this key has no value: write key = \"…\"".to_owned());
    }
    None
}

/// The key that `span` of `text`, in line `here`, repeats, and an error that says where it is set first.
fn duplicate(text: &str, here: usize, span: Range<usize>, lines: &Lines) -> (String, String) {
    let key = path_to(text, span);
    let is_header = |line: &str| header(line).is_some_and(|found| found == key);
    let header = text.lines().take(here - 1).position(is_header).map(|at| at + 1);
    let first = header.or_else(|| lines.exactly(&key).filter(|line| *line <= here));
    let first = first.map_or(String::new(), |line| format!(", first in line {line}"));
    (key, format!("is defined twice{first}: each key and each table may be defined only once"))
}

/// The path of the table whose header is `line`. `None` if the line is not a header.
fn header(line: &str) -> Option<String> {
    let name = line.trim_start().strip_prefix('[')?.trim_start_matches('[');
    name.split(']').next().map(dotted)
}

/// The path of the key at `span`, made of the table that it is in and of what precedes it on its line.
fn path_to(text: &str, span: Range<usize>) -> String {
    let start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let before = &text[start..span.end];
    if let Some(header) = before.trim_start().strip_prefix('[') {
        return dotted(header.trim_start_matches('['));
    }
    let mut path = String::new();
    let headers = || text[..start].lines().filter(|line| line.trim_start().starts_with('['));
    if let Some(line) = headers().next_back() {
        let name = header(line);
        let same = |line: &&str| line.trim_start().starts_with("[[") && header(line) == name;
        let index = line.trim_start().starts_with("[[").then(|| headers().filter(same).count() - 1);
        path = name.unwrap_or_default() + &index.map_or(String::new(), |index| format!("[{index}]"));
    }
    // In `a = { b = 1, c = 2, c = 3 }` the last is a.c.
    let parts =
        before.rsplit_once(['{', ',']).map_or((None, before), |(outer, key)| (outer.split('=').next(), key));
    for part in parts.0.into_iter().chain([parts.1]) {
        path = join(&path, &dotted(part));
    }
    path
}

/// `a . "b"` as `a.b`.
fn dotted(key: &str) -> String {
    let parts = key.split('.').map(|part| part.trim().trim_matches(['"', '\'']));
    parts.collect::<Vec<_>>().join(".")
}
