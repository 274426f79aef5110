//! Which names and filters a template uses, read from its source, so that mistakes are found before a message
//! comes.

use minijinja::{Environment, ErrorKind};
use postern_shared::suggest;
use regex::Regex;
use std::borrow::Cow;

/// Minijinja's filters, to suggest one for a mistyped name.
const FILTERS: [&str; 42] = [
    "abs",
    "attr",
    "batch",
    "bool",
    "capitalize",
    "chain",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "groupby",
    "indent",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "map",
    "max",
    "min",
    "reject",
    "rejectattr",
    "replace",
    "reverse",
    "round",
    "select",
    "selectattr",
    "slice",
    "sort",
    "split",
    "string",
    "sum",
    "title",
    "tojson",
    "trim",
];
/// More filters of minijinja, and `hex`.
const MORE_FILTERS: [&str; 7] = ["unique", "upper", "urlencode", "zip", "safe", "pprint", "hex"];
/// Minijinja's tests, to suggest one for a mistyped name.
const TESTS: [&str; 20] = [
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "even",
    "false",
    "float",
    "in",
    "integer",
    "iterable",
    "lower",
    "mapping",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
    "undefined",
];
/// The names whose value is a text, which has no parts.
const TEXTS: [&str; 6] = ["id", "backend", "identity", "text", "status_url", "status_path"];
/// The parts of `encoded`.
const ENCODED: [&str; 3] = ["text", "coding", "charset"];

/// The words by which a template says what to do if a value is absent.
const GUARDS: [&str; 8] = ["or", "if", "else", "default", "d", "defined", "undefined", "none"];

/// A name that a template uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// The name and the parts below it, such as `settings`, `from`.
    pub path: Vec<String>,
    /// Whether the template itself handles its absence, with an `or`, an `if` or a default.
    pub guarded: bool,
}

/// A part of a template's source.
enum SourcePart<'s> {
    /// Text outside of braces.
    Text(&'s str),
    /// The code in `{{ … }}`, which is a value, or in `{% … %}`, without the contents of its quotation marks.
    Code { code: String, is_value: bool },
}

/// The names that the template `source` uses, without those that it sets itself. Empty if `source` is not a
/// template.
pub fn uses(source: &str) -> Vec<Use> {
    let plain = with_dots(source);
    let is_guard = |code: &str| {
        let words = code.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        words.into_iter().any(|word| GUARDS.contains(&word))
    };
    let guarded =
        parts(source).iter().any(|part| matches!(part, SourcePart::Code { code, .. } if is_guard(code)));
    let mut jinja = Environment::new();
    if jinja.add_template("value", &plain).is_err() {
        return Vec::new();
    }
    let names = jinja.get_template("value").map(|template| template.undeclared_variables(true));
    let mut names: Vec<String> = names.unwrap_or_default().into_iter().collect();
    names.sort();
    let path = |name: String| name.split('.').map(str::to_owned).collect();
    names.into_iter().map(|name| Use { path: path(name), guarded }).collect()
}

/// `source` with `a['b']` as `a.b`.
fn with_dots(source: &str) -> Cow<'_, str> {
    if !source.contains("['") && !source.contains("[\"") && !source.contains("[ ") {
        return source.into();
    }
    let index = Regex::new(r#"\[\s*(?:'([A-Za-z_]\w*)'|"([A-Za-z_]\w*)")\s*\]"#);
    index.map_or(source.into(), |index| Cow::Owned(index.replace_all(source, ".$1$2").into_owned()))
}

/// What is wrong with the template `source`, which `jinja` can compile and which uses only `names`: an unknown
/// filter or test, a part of a text, or a name in single braces.
pub(super) fn problem(source: &str, jinja: &Environment<'_>, names: &[&str]) -> Option<String> {
    let parts = parts(source);
    unknown_call(&parts, jinja)
        .or_else(|| part_of_a_text(source))
        .or_else(|| not_replaced(source, &parts, names))
}

/// The template `source` as a text, with `value` for each `{{ … }}` and nothing for each `{% … %}`.
pub(super) fn with_values_as(source: &str, value: &str) -> String {
    let mut plain = String::new();
    for part in parts(source) {
        match part {
            SourcePart::Text(text) => plain.push_str(text),
            SourcePart::Code { is_value: true, .. } => plain.push_str(value),
            SourcePart::Code { .. } => {}
        }
    }
    plain
}

fn parts(source: &str) -> Vec<SourcePart<'_>> {
    let (mut parts, mut rest) = (Vec::new(), source);
    loop {
        let starts = ["{{", "{%", "{#"].into_iter().filter_map(|mark| rest.find(mark));
        let Some(start) = starts.min() else { break };
        let end = if rest[start..].starts_with("{{") {
            "}}"
        } else if rest[start..].starts_with("{%") {
            "%}"
        } else {
            "#}"
        };
        parts.push(SourcePart::Text(&rest[..start]));
        let (code, tail) = if end == "#}" {
            (String::new(), after(&rest[start + 2..], end))
        } else {
            code(&rest[start + 2..], end)
        };
        parts.push(SourcePart::Code { code, is_value: end == "}}" });
        rest = tail;
    }
    parts.push(SourcePart::Text(rest));
    parts
}

fn after<'s>(text: &'s str, mark: &str) -> &'s str {
    text.find(mark).map_or("", |at| &text[at + mark.len()..])
}

/// The code up to `end`, without the contents of its quotation marks, and the text after `end`.
fn code<'s>(text: &'s str, end: &str) -> (String, &'s str) {
    let (mut code, mut quote, mut escaped) = (String::new(), None, false);
    for (at, c) in text.char_indices() {
        match quote {
            None if text[at..].starts_with(end) => return (code, &text[at + end.len()..]),
            None => {
                code.push(c);
                quote = Some(c).filter(|c| matches!(c, '"' | '\''));
            }
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => {
                code.push(c);
                quote = None;
            }
            Some(_) => {}
        }
    }
    (code, "")
}

/// The error for a filter or a test that minijinja does not have: the template would fail with each message.
fn unknown_call(parts: &[SourcePart<'_>], jinja: &Environment<'_>) -> Option<String> {
    let code = parts.iter().filter_map(|part| match part {
        SourcePart::Code { code, .. } => {
            Some(code.as_str()).filter(|code| ["|", "is", "filter"].iter().any(|it| code.contains(it)))
        }
        SourcePart::Text(_) => None,
    });
    let mut code = code.peekable();
    // Most templates call nothing: this saves time with a thousand backends.
    code.peek()?;
    let call =
        Regex::new(r"(?:\|\s*|^\s*-?\s*filter\s+)([A-Za-z_]\w*)|\bis\s+(?:not\s+)?([A-Za-z_]\w*)").ok()?;
    let fails = |template: String, kind: ErrorKind| {
        jinja.render_str(&template, ()).is_err_and(|error| error.kind() == kind)
    };
    code.flat_map(|code| call.captures_iter(code)).find_map(|found| match (found.get(1), found.get(2)) {
        (Some(filter), _) => {
            let name = filter.as_str();
            let known = || FILTERS.into_iter().chain(MORE_FILTERS);
            fails(format!("{{{{ ''|{name} }}}}"), ErrorKind::UnknownFilter).then(|| {
                format!(
                    "unknown filter {name}; filters are Jinja's, such as upper, trim, default{}",
                    suggest::hint(name, known())
                )
            })
        }
        (None, Some(test)) => {
            let name = test.as_str();
            fails(format!("{{{{ '' is {name} }}}}"), ErrorKind::UnknownTest).then(|| {
                format!(
                    "unknown test {name}; tests are Jinja's, such as defined, none{}",
                    suggest::hint(name, TESTS)
                )
            })
        }
        (None, None) => None,
    })
}

/// The error for a part of a value that has no parts, and which is therefore always absent.
fn part_of_a_text(source: &str) -> Option<String> {
    uses(source).iter().find_map(|used| match &used.path[..] {
        [name, part, ..] if TEXTS.contains(&name.as_str()) => {
            let filter = suggest::nearest(part, FILTERS.into_iter().chain(MORE_FILTERS));
            let hint = filter.map_or_else(String::new, |filter| {
                format!(": a filter is written {{{{ {name} | {filter} }}}}")
            });
            Some(format!("{name} is a string and has no part {part}{hint}"))
        }
        [name, part, ..] if name == "encoded" && !ENCODED.contains(&part.as_str()) => {
            let hint = suggest::hint(part, ENCODED);
            Some(format!("encoded has no part {part}; it has {}{hint}", ENCODED.join(", ")))
        }
        _ => None,
    })
}

/// The error for a name of `names` in the syntax of other programs, which would be sent literally.
fn not_replaced(source: &str, parts: &[SourcePart<'_>], names: &[&str]) -> Option<String> {
    let texts = parts.iter().filter_map(|part| match part {
        SourcePart::Text(text) => Some(*text).filter(|text| text.contains('{')),
        SourcePart::Code { .. } => None,
    });
    let in_braces = texts.flat_map(|text| text.split('{').skip(1)).find_map(|rest| {
        let inner = rest.split_once('}')?.0.trim();
        let (name, parts) = inner.split_at(inner.find('.').unwrap_or(inner.len()));
        let is_path = parts.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.');
        (names.contains(&name) && is_path).then(|| (name.to_owned(), parts.to_owned()))
    });
    let whole = [("$", ""), ("%(", ")s"), ("%", "%"), ("<", ">"), ("[[", "]]")].into_iter().find_map(
        |(start, end)| {
            let name = source.trim().strip_prefix(start)?.strip_suffix(end)?.trim();
            names.contains(&name).then(|| (name.to_owned(), String::new()))
        },
    );
    let (name, rest) = in_braces.or(whole)?;
    Some(format!("{name} is not replaced in this form: write {{{{ {name}{rest} }}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::template::{NAMES, Template, UrlTemplate};

    #[test]
    fn what_would_fail_or_be_missing_is_found_without_a_message() {
        for (source, says) in [
            (
                "{{ text | uper }}",
                "unknown filter uper; filters are Jinja's, such as upper, trim, default; did you mean upper?",
            ),
            ("{{ text|trim|lowr }}", "did you mean lower?"),
            ("{% if text is defind %}x{% endif %}", "unknown test defind"),
            ("{% filter uper %}x{% endfilter %}", "unknown filter uper"),
            ("{{ 'a' if context.x else text | nonsense }}", "unknown filter nonsense"),
            ("{{ text.upper() }}", "a filter is written {{ text | upper }}"),
            ("{{ text.body }}", "text is a string and has no part body"),
            ("{{ identity['number'] }}", "has no part number"),
            ("{{ encoded.txt }}", "did you mean text?"),
            ("{text}", "write {{ text }}"),
            ("to ${identity}!", "write {{ identity }}"),
            ("{ settings.sender }", "write {{ settings.sender }}"),
            ("{{ id }}-{text}", "write {{ text }}"),
            ("%(text)s", "write {{ text }}"),
            ("$text", "write {{ text }}"),
            ("<identity>", "write {{ identity }}"),
            ("{{ txt }}", "did you mean text?"),
        ] {
            let why = Template::parse(source).unwrap_err();
            assert!(why.contains(says), "{source}: {why}");
        }
        let why = UrlTemplate::parse("http://h/{identity}?t={{ text }}").unwrap_err();
        assert!(why.contains("write {{ identity }}"), "{why}");
    }

    #[test]
    fn what_is_right_stays_right() {
        for source in [
            "{{ text | upper | replace('| nonsense', 'is odd') }}",
            "{% if identities | length is odd %}{{ identities[0] }}{% endif %}",
            "{% for one in identities %}{{ loop.index }}{{ one.x }}{% endfor %}",
            "{{ context.any.thing['else'] | default('{text}') }}",
            "{\"text\": {{ text | tojson }}, \"n\": {}}",
            "100% {more} <b> $5 {# {text} #}",
            "{{ metadata or {'id': id} }}".replace("metadata", "context.m").as_str(),
        ] {
            assert!(Template::parse(source).is_ok(), "{source}: {:?}", Template::parse(source));
        }
    }

    #[test]
    fn every_filter_and_test_that_is_suggested_exists() {
        let mut jinja = Environment::new();
        jinja.add_filter("hex", super::super::hex);
        let filters = FILTERS.into_iter().chain(MORE_FILTERS).map(|name| format!("{{{{ ''|{name} }}}}"));
        for template in filters.chain(TESTS.map(|name| format!("{{{{ '' is {name} }}}}"))) {
            let kind = jinja.render_str(&template, ()).err().map(|error| error.kind());
            assert!(!matches!(kind, Some(ErrorKind::UnknownFilter | ErrorKind::UnknownTest)), "{template}");
        }
        assert!(NAMES.iter().filter(|name| TEXTS.contains(name)).count() == TEXTS.len());
    }

    #[test]
    fn uses_are_listed_with_what_guards_them() {
        let listed = |source: &str| {
            let uses = uses(source);
            uses.iter().map(|it| (it.path.join("."), it.guarded)).collect::<Vec<_>>()
        };
        let one = |path: &str, guarded| vec![(path.to_owned(), guarded)];
        assert_eq!(listed("a {{ settings.msg }}"), one("settings.msg", false));
        assert_eq!(listed("{{ settings['msg'] }}"), one("settings.msg", false));
        assert_eq!(listed("{{ settings.msg | default('or') }}"), one("settings.msg", true));
        assert_eq!(listed("{{ settings.msg ~ ' or if ' }}"), one("settings.msg", false));
        assert_eq!(listed("{{ 'x' if settings.msg }}"), one("settings.msg", true));
        assert_eq!(listed("plain"), []);
    }
}
