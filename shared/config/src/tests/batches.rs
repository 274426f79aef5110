//! Several messages or delivery reports in one request: mistakes and warnings.

use super::{Mistake, assert_named, parse};

const MISTAKES: &[Mistake] = &[
    ("[ingress]\nmax_items = 0", "ingress.max_items", Some(2), "1 to 10000"),
    ("[ingress]\nmax_items = 10001", "ingress.max_items", Some(2), "1 to 10000"),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\neach = \"results\"\nparams = { identity = \"/from\" }",
        "backends.a.receive.each",
        Some(4),
        "must begin with /",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\neach = \"/results/*\"\nparams = { identity = \"/from\" }",
        "backends.a.receive.each",
        Some(4),
        "write \"/results\"",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\neach = \"/results\"",
        "backends.a.receive.each",
        Some(4),
        "identity = \"/from\", text = \"/text\"",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\neach = \"/results\"\nparams = { identity = \"from\" }",
        "backends.a.receive.each",
        Some(4),
        "no pointer",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\nmethods = [\"GET\"]\neach = \"/r\"\nparams = { text = \"/t\" }",
        "backends.a.receive.each",
        Some(5),
        "\"POST\"",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\ncodec = \"kannel\"\neach = \"/r\"\nparams = { text = \"/t\" }",
        "backends.a.receive.codec",
        Some(4),
        "JSON",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\neach = \"/r\"\nparams = { text = \"/t\", identity = \"^id\" }",
        "backends.a.receive.params.identity",
        Some(5),
        "\"^/id\"",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\nparams = { text = \"/messages/*/text\" }",
        "backends.a.receive.params.text",
        Some(4),
        "set each to the list",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\nwhen = 'body.type =='",
        "backends.a.receive.when",
        Some(4),
        "not a CEL expression",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\nwhen = 'identity == \"1\"'",
        "backends.a.receive.when",
        Some(4),
        "unknown name identity; an expression can use body, query, headers",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\nwhen = 'body.to == settings.number || has(settings.any)'",
        "backends.a.settings.number",
        Some(1),
        "is missing",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\nchallenge = { when = 'query.t == settings[\"token\"]', reply = \"x\" }",
        "backends.a.settings.token",
        Some(1),
        "is missing",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\nwhen = 'has(item.message)'",
        "backends.a.receive.when",
        Some(4),
        "only with each",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\nchallenge = { when = 'item == 1', reply = \"x\" }",
        "backends.a.receive.challenge.when",
        Some(4),
        "a handshake has no items",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.status]\nstates = { a = \"sent\" }\nwhen = 'has(item.message)'",
        "backends.a.status.when",
        Some(5),
        "only with each",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\nchallenge = { reply = \"x\" }",
        "backends.a.receive.challenge.when",
        Some(4),
        "missing",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\nchallenge = { when = 'has(query.a)', reply = \"{{ a }}\" }",
        "backends.a.receive.challenge.reply",
        Some(4),
        "unknown name a; a template can use body, query, headers",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\nformat = \"yaml\"",
        "backends.a.receive.format",
        Some(4),
        "\"xml\"",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\nformat = \"text\"\neach = \"/r\"\nparams = { text = \"/t\" }",
        "backends.a.receive.format",
        Some(4),
        "the body is a text",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\nformat = \"form\"\neach = \"/r\"\nparams = { text = \"/t\" }",
        "backends.a.receive.format",
        Some(4),
        "\"json\"",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\nignore = \"yes\"",
        "backends.a.receive.ignore",
        Some(4),
        "true or false",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.status]\nstates = { a = \"sent\" }\nwhen = 'event == 1'",
        "backends.a.status.when",
        Some(5),
        "unknown name event",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.status]\nstates = { a = \"sent\" }\neach = \"/\"",
        "backends.a.status.each",
        Some(5),
        "\"\" means that the body itself is a list",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.status]\nstates = { a = \"sent\" }\neach = \"/results\"",
        "backends.a.status.each",
        Some(5),
        "external_id = \"/id\"",
    ),
];

#[test]
fn every_mistake_is_named() {
    assert_named(MISTAKES);
}

#[test]
fn a_number_in_a_pointer_and_an_ignore_without_effect_are_warned_of() {
    let warnings = |text: &str| {
        let warnings = parse(&format!("[backends.a]\ntype = \"http\"\n{text}"));
        let warnings = warnings.unwrap().warnings;
        warnings.into_iter().map(|it| (it.key, it.line, it.what)).collect::<Vec<_>>()
    };
    for (text, key, line, says) in [
        (
            "[backends.a.receive]\nparams = { identity = \"/results/0/from\", text = \"/text\" }",
            "backends.a.receive.params.identity",
            4,
            "each = \"/results\"",
        ),
        (
            "[backends.a.status]\nstates = { a = \"sent\" }\nparams = { state = \"/0/status\" }",
            "backends.a.status.params.state",
            5,
            "each = \"\"",
        ),
        ("[backends.a.receive]\nignore = true", "backends.a.receive.ignore", 4, "receive.when"),
    ] {
        let found = warnings(text);
        let [(found_key, found_line, what)] = &found[..] else { panic!("{text}: {found:?}") };
        assert_eq!((found_key.as_str(), *found_line), (key, Some(line)), "{text}");
        assert!(what.contains(says), "{text}: {what}");
    }
    for text in [
        // The list only goes with a message.
        "[backends.a.receive]\nparams = { picture = \"/media/0/url\" }\nfields = { picture = {} }",
        "[backends.a.receive]\neach = \"/results\"\nparams = { text = \"/parts/0/text\" }",
        "[backends.a.receive]\nignore = true\nwhen = 'has(body.message)'",
        "[backends.a.receive]\nignore = true\n[backends.a.status]\nstates = { a = \"sent\" }\nwhen = 'has(body.s)'",
    ] {
        assert_eq!(warnings(text), [], "{text}");
    }
}
