//! Programs and documents use plain English, without phrases that a reader stumbles over.

use super::{ROOT, members};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Phrases that have a plainer one, and what to write instead. `such` is checked by itself: "such as" is fine.
const AVOIDED: [(&str, &str); 14] = [
    ("so long", "how long, until"),
    ("so many", "at most N"),
    ("so often", "how often"),
    ("such", "this, such as"),
    ("whoever", "anyone who"),
    ("whatever", "any"),
    ("for ever", "permanently, never … again"),
    ("of these", "say which"),
    ("that which", "what, the one that"),
    ("as it is", "unchanged, literally"),
    ("beside", "with, next to"),
    ("anew", "again"),
    ("is not that of", "belongs to another"),
    ("has no use", "has no effect"),
];

/// The avoided phrases in `text`. A phrase does not cross a comma or a full stop.
fn avoided(text: &str) -> Vec<&'static str> {
    let mut words = Vec::new();
    for piece in text.to_lowercase().split_whitespace() {
        let word = piece.trim_matches(|c: char| !c.is_alphanumeric());
        words.push(word.to_owned());
        if piece.ends_with(|c: char| !c.is_alphanumeric()) {
            words.push(String::new());
        }
    }
    let is_at = |phrase: &str, at: usize| {
        let wanted: Vec<&str> = phrase.split(' ').collect();
        let found = words.get(at..at + wanted.len()).is_some_and(|found| found == wanted);
        found && (phrase != "such" || words.get(at + 1).is_none_or(|next| next != "as"))
    };
    let phrases = AVOIDED.iter().map(|(phrase, _)| *phrase);
    phrases.filter(|phrase| (0..words.len()).any(|at| is_at(phrase, at))).collect()
}

/// The string literals in `source`, each with its line. Comments and character literals are ignored.
fn literals(source: &str) -> Vec<(usize, String)> {
    let (mut found, mut at) = (Vec::new(), 0);
    let line = |at: usize| source[..at].lines().count().max(1);
    while let Some(rest) = source.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
        } else if let Some(character) = character(rest) {
            at += character;
        } else if let Some((hashes, body)) = raw_string(rest) {
            let end = format!("\"{}", "#".repeat(hashes));
            let length = body.find(&end).unwrap_or(body.len());
            found.push((line(at + 1), body[..length].to_owned()));
            at += rest.len() - body.len() + length + end.len();
        } else if let Some(body) = rest.strip_prefix('"') {
            let length = end_of_string(body);
            found.push((line(at + 1), unescaped(&body[..length])));
            at += length + 2;
        } else {
            // A name is skipped whole, so that an `r` at its end does not begin a raw string.
            let name =
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').map(char::len_utf8).sum();
            at += if name == 0 { rest.chars().next().map_or(1, char::len_utf8) } else { name };
        }
    }
    found
}

/// The length of the character literal at the start of `rest`; `None` for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let body = rest.strip_prefix('\'')?;
    let mut letters = body.char_indices();
    match letters.next()?.1 {
        '\\' => body[2..].find('\'').map(|end| end + 4),
        _ => letters.next().filter(|(_, next)| *next == '\'').map(|(end, _)| end + 2),
    }
}

/// The number of `#` of the raw string at the start of `rest`, and the text after its first quote.
fn raw_string(rest: &str) -> Option<(usize, &str)> {
    let rest = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let body = rest.trim_start_matches('#');
    Some((rest.len() - body.len(), body.strip_prefix('"')?))
}

fn end_of_string(body: &str) -> usize {
    let mut is_escaped = false;
    for (at, letter) in body.char_indices() {
        match letter {
            '"' if !is_escaped => return at,
            '\\' => is_escaped = !is_escaped,
            _ => is_escaped = false,
        }
    }
    body.len()
}

/// `literal` as a reader sees it. Escapes that do not affect words are left.
fn unescaped(literal: &str) -> String {
    let joined: Vec<&str> = literal
        .split("\\\n")
        .enumerate()
        .map(|(number, line)| if number == 0 { line } else { line.trim_start() })
        .collect();
    joined.concat().replace("\\n", "\n").replace("\\\"", "\"").replace("\\x20", " ")
}

fn without_code(text: &str) -> String {
    text.split('`').step_by(2).collect::<Vec<_>>().join("code")
}

/// The prose of a Markdown page, line by line; code is left out, because other programs determine it.
fn prose(page: &str) -> String {
    let mut is_code = false;
    let lines = page.lines().map(|line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        if is_code || is_fence || line.starts_with("    ") { "" } else { line }
    });
    lines.map(without_code).collect::<Vec<_>>().join("\n")
}

/// The files below `folder` whose names end in `ending`, sorted.
pub(super) fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            found.extend(files(&entry, ending));
        } else if entry.to_str().unwrap().ends_with(ending) {
            found.push(entry);
        }
    }
    found.sort();
    found
}

/// Adds to `wrong` the avoided phrases of the `lines` of `file`.
fn look(file: &Path, lines: impl IntoIterator<Item = (usize, String)>, wrong: &mut Vec<String>) {
    let file = file.strip_prefix(ROOT).unwrap_or(file).display();
    for (line, text) in lines {
        wrong.extend(avoided(&text).iter().map(|phrase| format!("{file}:{line}: \"{phrase}\" in {text:?}")));
    }
}

fn none(wrong: &[String]) {
    let instead: Vec<_> = AVOIDED.iter().map(|(phrase, instead)| format!("{phrase} → {instead}")).collect();
    assert!(wrong.is_empty(), "{}\n{}", instead.join("; "), wrong.join("\n"));
}

fn numbered(text: &str) -> Vec<(usize, String)> {
    text.lines().enumerate().map(|(number, line)| (number + 1, line.to_owned())).collect()
}

/// Tests and conformance suites are not checked.
fn is_tests(file: &Path) -> bool {
    let parts = file.iter().filter_map(|part| Path::new(part).file_stem()?.to_str());
    parts.skip_while(|part| *part != "src").any(|part| ["tests", "conformance"].contains(&part))
}

#[test]
fn a_program_speaks_plain_english() {
    let (mut wrong, mut read) = (Vec::new(), 0);
    let product =
        |folder: &String| !["tests", "fuzz", "deploy/examples"].iter().any(|it| folder.starts_with(it));
    for (folder, _) in members().into_iter().filter(|(folder, _)| product(folder)) {
        let folder = Path::new(ROOT).join(folder).join("src");
        for file in files(&folder, ".rs").into_iter().filter(|file| !is_tests(file)) {
            let source = std::fs::read_to_string(&file).unwrap();
            let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let said = literals(source);
            read += said.len();
            look(&file, said, &mut wrong);
        }
        for file in files(&folder, ".toml") {
            look(&file, numbered(&std::fs::read_to_string(&file).unwrap()), &mut wrong);
        }
        for file in files(&folder, ".json") {
            let texts = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
            look(&file, strings(&texts).into_iter().map(|text| (1, text)), &mut wrong);
        }
    }
    assert!(read > 4000, "{read} literals");
    none(&wrong);
}

/// Every string in `value`.
fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(members) => members.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

/// The comments in `source`, each with its first line; what is on a line together with code is not read. The doc
/// comments of a program's arguments are what `--help` prints.
fn comments(source: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut goes_on = false;
    for (number, line) in numbered(source) {
        let comment = line.trim_start().strip_prefix("//");
        match comment.map(|text| without_code(text.trim_start_matches(['/', '!']))) {
            Some(text) if goes_on => found.last_mut().unwrap().1.push_str(&format!("\n{text}")),
            Some(text) => found.push((number, text)),
            None => {}
        }
        goes_on = comment.is_some();
    }
    found
}

#[test]
fn comments_are_in_plain_english() {
    let (mut wrong, mut read) = (Vec::new(), 0);
    for (folder, _) in members() {
        for file in files(&Path::new(ROOT).join(folder), ".rs") {
            if !file.ends_with("policy/plain_words.rs") {
                let said = comments(&std::fs::read_to_string(&file).unwrap());
                read += said.len();
                look(&file, said, &mut wrong);
            }
        }
    }
    assert!(read > 8000, "{read} comments");
    none(&wrong);
}

#[test]
fn documents_are_in_plain_english() {
    let root = Path::new(ROOT);
    let mut pages = files(&root.join("docs"), ".md");
    pages.extend(
        ["README.md", "SECURITY.md", "CONTRIBUTING.md", "ARCHITECTURE.md"].map(|name| root.join(name)),
    );
    assert!(pages.len() > 40, "{pages:?}");
    let mut wrong = Vec::new();
    for page in pages {
        look(&page, numbered(&prose(&std::fs::read_to_string(&page).unwrap())), &mut wrong);
    }
    let mut settings = files(&root.join("shared/providers"), ".toml");
    settings.push(root.join("deploy/default.toml"));
    for file in settings {
        look(&file, numbered(&std::fs::read_to_string(&file).unwrap()), &mut wrong);
    }
    none(&wrong);
}

#[test]
fn what_the_rule_reads_is_what_people_read() {
    let source = r##"
// "so long" in a comment
fn f<'a>(c: char, t: &'a str) -> bool { c == '"' || c == '\'' || c == '\\' || t.ends_with("for \"ever\"") }
const TEXT: &str = "whoever \
                    asks";
const RAW: &str = r#"as "it" is"#;
"##;
    let said = literals(source);
    let texts: Vec<_> = said.iter().map(|(line, text)| (*line, text.as_str())).collect();
    assert_eq!(texts, [(3, "for \"ever\""), (4, "whoever asks"), (6, "as \"it\" is")]);

    for (text, found) in [
        ("Whoever asks; such a text", &["such", "whoever"][..]),
        ("addresses such as these, of these", &["of these"]),
        ("the kind of. These are whatever-free", &[]),
        ("stored\nas it\nis", &["as it is"]),
    ] {
        assert_eq!(avoided(text), found, "{text}");
    }
    assert_eq!(
        comments("//! One\n//! `such` two\nlet x = 1; // so long\n    // three\n"),
        [(1, " One\n code two".to_owned()), (4, " three".to_owned())]
    );
    assert_eq!(prose("such `as it is` a\n```\nsuch\n```\n    whoever\nb"), "such code a\n\n\n\n\nb");
}
