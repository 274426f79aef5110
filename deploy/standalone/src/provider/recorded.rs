//! Reads files of recorded requests and answers.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `NAME.http` or any other | one HTTP message, as sent on the wire: `POST /path HTTP/1.1`, or `HTTP/1.1 201 Created` for an answer; headers; an empty line; the body. Lines may end in a line feed alone. The line feed at the end of the file does not belong to the body unless `Content-Length` includes it |
//! | `NAME.toml` | requests in the form of the tables in the project's own tests: `[[row]]` with `request = "POST /path"`, `headers` and `body` |

use postern_ingress::trial::RecordedRequest;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

/// The name of the file with the settings in a folder.
pub(super) const SETTINGS: &str = "settings.toml";

/// A recorded HTTP message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Recorded {
    Request(RecordedRequest),
    Answer(RecordedAnswer),
}

/// A provider's answer to a send.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RecordedAnswer {
    pub(super) status: u16,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

#[derive(Deserialize)]
struct Table {
    row: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    name: Option<String>,
    request: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: String,
}

/// The file at `path`, or if `path` is a folder, the files in it in order, except [`SETTINGS`].
///
/// # Errors
/// The folder cannot be read.
pub(super) fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_file() && path.file_name().is_some_and(|name| name != SETTINGS) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The messages in the file at `path`, each with a name.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn read(path: &Path) -> Result<Vec<(String, Recorded)>, String> {
    let name = path.display().to_string();
    let wrong = |why: String| format!("{name}: {why}");
    let bytes = fs::read(path).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    if path.extension().is_some_and(|extension| extension == "toml") {
        let text = String::from_utf8(bytes).map_err(|_| wrong("is not UTF-8".to_owned()))?;
        let table: Table = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        return table.row.into_iter().map(|row| of_row(&name, row)).collect();
    }
    Ok(vec![(name.clone(), message(&bytes).map_err(wrong)?)])
}

fn of_row(file: &str, row: Row) -> Result<(String, Recorded), String> {
    let Row { name, request, headers, body } = row;
    let name = name.map_or_else(|| file.to_owned(), |name| format!("{file}: {name}"));
    let Some((method, target)) = request.split_once(' ') else {
        return Err(format!("{name}: request must be a method and a path, such as \"POST /backends/acme\""));
    };
    let (method, target) = (method.to_owned(), target.to_owned());
    let body = body.trim_end().as_bytes().to_vec();
    let headers = headers.into_iter().collect();
    Ok((name, Recorded::Request(RecordedRequest { method, target, headers, body })))
}

/// Reads an HTTP message.
///
/// # Errors
/// What is wrong with the message.
fn message(bytes: &[u8]) -> Result<Recorded, String> {
    let end = |mark: &[u8]| Some((bytes.windows(mark.len()).position(|it| it == mark)?, mark.len()));
    let ends = [end(b"\r\n\r\n"), end(b"\n\n")];
    let (at, gap) = ends.into_iter().flatten().min().unwrap_or((bytes.len(), 0));
    let head = str::from_utf8(&bytes[..at]).map_err(|_| "its head is not UTF-8")?;
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default().trim();
    let mut headers = Vec::new();
    for line in lines {
        let pair = line.split_once(':').filter(|(name, _)| !name.is_empty() && !name.contains(' '));
        let (name, value) =
            pair.ok_or_else(|| format!("{line:?} is not a header; a body comes after an empty line"))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let body = body(&bytes[(at + gap).min(bytes.len())..], &headers);
    // A recorded body is not chunked any more.
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case("transfer-encoding"));
    let words: Vec<&str> = first.split(' ').filter(|word| !word.is_empty()).collect();
    match words[..] {
        [version, status, ..] if version.starts_with("HTTP/") => {
            let status = status.parse().map_err(|_| format!("{status} is not an HTTP status"))?;
            Ok(Recorded::Answer(RecordedAnswer { status, headers, body }))
        }
        [method, target] | [method, target, _] if target.starts_with('/') || target.contains("://") => {
            let (method, target) = (method.to_owned(), path_of(target).to_owned());
            Ok(Recorded::Request(RecordedRequest { method, target, headers, body }))
        }
        _ => Err(format!(
            "begins with {first:?}; a request begins like POST /path HTTP/1.1, an answer like HTTP/1.1 200 OK"
        )),
    }
}

/// The body: as long as `Content-Length` says, or without the last line feed if it says nothing.
fn body(rest: &[u8], headers: &[(String, String)]) -> Vec<u8> {
    let length = headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, length)| length.parse::<usize>().ok());
    let rest = match length {
        Some(length) => rest.get(..length).unwrap_or(rest),
        None => rest.strip_suffix(b"\n").map_or(rest, |rest| rest.strip_suffix(b"\r").unwrap_or(rest)),
    };
    rest.to_vec()
}

/// The path and the query of a target that may have a scheme and a host.
fn path_of(target: &str) -> &str {
    let Some((_, rest)) = target.split_once("://") else { return target };
    rest.find('/').map_or("/", |at| &rest[at..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(text: &str) -> RecordedRequest {
        match message(text.as_bytes()) {
            Ok(Recorded::Request(request)) => request,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_read_as_it_is_pasted() {
        let plain = request("POST /backends/acme HTTP/1.1\nHost: h\nContent-Type: text/plain\n\na=1\n");
        assert_eq!((plain.method.as_str(), plain.target.as_str()), ("POST", "/backends/acme"));
        assert_eq!(plain.headers[1], ("Content-Type".to_owned(), "text/plain".to_owned()));
        assert_eq!(plain.body, b"a=1");
        let wire = request("POST /a?b=c HTTP/1.1\r\nContent-Length: 4\r\n\r\na\n\n\nmore");
        assert_eq!((wire.target.as_str(), &wire.body[..]), ("/a?b=c", &b"a\n\n\n"[..]));
        assert_eq!(request("GET https://sms.example.org/backends/acme?x=1").target, "/backends/acme?x=1");
    }

    #[test]
    fn an_answer_begins_with_its_version() {
        let answer = message(b"HTTP/1.1 429 Too Many Requests\nRetry-After: 3\n\n{}\n");
        let headers = vec![("Retry-After".to_owned(), "3".to_owned())];
        let wanted = RecordedAnswer { status: 429, headers, body: b"{}".to_vec() };
        assert_eq!(answer, Ok(Recorded::Answer(wanted)));
    }

    #[test]
    fn what_is_neither_is_refused() {
        for (text, says) in
            [("", "a request begins like"), ("hello\n", "begins with"), ("POST /a\na=1&b=2\n", "empty line")]
        {
            let why = message(text.as_bytes()).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
        }
    }
}
