//! Like `backend_mistakes`, about how bodies are made and read.

use super::{Mistake, assert_named, parse};

/// A backend with further keys of its `send` table, next to the URL.
macro_rules! send {
    ($table:literal) => {
        concat!("[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/\"\n", $table)
    };
}

/// A backend with this `receive` table.
macro_rules! receive {
    ($table:literal) => {
        concat!("[backends.a]\ntype = \"http\"\n[backends.a.receive]\n", $table)
    };
}

const MISTAKES: &[Mistake] = &[
    (send!("xml = \"<a>{{ text }}\""), "backends.a.send.xml", Some(5), "an element is not ended"),
    (send!("xml = \"<a><!-- {{ text }} --></a>\""), "backends.a.send.xml", Some(5), "part of a comment"),
    (send!("xml = \"<a>{{ txt }}</a>\""), "backends.a.send.xml", Some(5), "did you mean text?"),
    (send!("xml = \"<a>{{ text }}{{ settings.k }}</a>\""), "backends.a.send.xml", Some(5), "no setting k"),
    (
        send!("xml = \"<a>{{ text }}</a>\"\nform = { t = \"{{ text }}\" }"),
        "backends.a.send.xml",
        Some(5),
        "json, form or xml",
    ),
    (
        send!("json = { t = \"{{ text }}\" }\nform = { t = \"{{ text }}\" }"),
        "backends.a.send.json",
        Some(5),
        "one body",
    ),
    (
        send!("method = \"GET\"\nxml = \"<a>{{ text }}</a>\""),
        "backends.a.send.method",
        Some(5),
        "a GET has no body",
    ),
    (
        send!("json = [{ t = \"{{ text }}\" }]\ndefaults = \"{{ context.d }}\""),
        "backends.a.send.defaults",
        Some(6),
        "is a table",
    ),
    (send!("json = \"{{ text }}\""), "backends.a.send.json", Some(5), "a table or a list"),
    (send!("json = [{ t = \"{{ txt }}\" }]"), "backends.a.send.json[0].t", Some(5), "did you mean text?"),
    (
        send!("json = { deep = { t = \"{{ txt }}\" } }"),
        "backends.a.send.json.deep.t",
        Some(5),
        "did you mean text?",
    ),
    (
        send!("form = { m = { t = \"{{ txt }}\" } }"),
        "backends.a.send.form.m.t",
        Some(5),
        "did you mean text?",
    ),
    (
        send!("form = { t = \"{{ text }}\", n = 7 }"),
        "backends.a.send.form.n",
        Some(5),
        "must be a string, or a table",
    ),
    (
        send!("form = { t = \"{{ text }}\" }\nsuccess = { at = \"/ok\" }"),
        "backends.a.send.success.is",
        Some(6),
        "is missing",
    ),
    (
        send!("form = { t = \"{{ text }}\" }\nsuccess = { is = \"0\" }"),
        "backends.a.send.success.at",
        Some(6),
        "is missing",
    ),
    (
        receive!("nested = { Message = \"jsn\" }"),
        "backends.a.receive.nested.Message",
        Some(4),
        "did you mean \"json\"?",
    ),
    (
        receive!("nested = { \"\" = \"json\" }"),
        "backends.a.receive.nested.",
        Some(4),
        "must name a parameter",
    ),
    (
        receive!("nested = { \"/a/x*\" = \"json\" }"),
        "backends.a.receive.nested./a/x*",
        Some(4),
        "* must stand alone",
    ),
    (
        receive!("codec = \"kannel\"\nnested = { p = \"json\" }"),
        "backends.a.receive.codec",
        Some(4),
        "nested",
    ),
    (receive!("dedupe = \"external_id\""), "backends.a.receive.dedupe", Some(4), "true, false, or a list"),
    (
        receive!("dedupe = [\"identity\", \"age\"]"),
        "backends.a.receive.dedupe",
        Some(4),
        "messages have no field age",
    ),
    (receive!("dedupe = []"), "backends.a.receive.dedupe", Some(4), "names no field"),
    (
        receive!("dates = { timezone = \"Nairobi\" }"),
        "backends.a.receive.dates.timezone",
        Some(4),
        "\"Africa/Nairobi\"",
    ),
    (
        receive!("dates = { format = \"%H:%M\" }"),
        "backends.a.receive.dates.format",
        Some(4),
        "day, month and year",
    ),
    (receive!("dates = { zone = \"UTC\" }"), "backends.a.receive.dates.zone", Some(4), "format or timezone"),
];

#[test]
fn every_mistake_is_named() {
    assert_named(MISTAKES);
}

#[test]
fn a_body_may_be_nested_whatever_it_is() {
    for table in [
        send!("xml = \"<a>{{ text }}</a>\"\nsuccess = { at = \"/r/@code\", is = [\"0\"] }"),
        send!("json = [{ to = \"{{ identity }}\", t = \"{{ text }}\", n = [1, true, [\"{{ id }}\"]] }]"),
        send!("form = { m = { type = \"text\", t = \"{{ text }}\" }, l = [\"{{ identity }}\"] }"),
        receive!(
            "format = \"form\"\neach = \"/payload/items\"\nnested = { payload = \"json\" }\nparams = { text = \"/t\" }"
        ),
        receive!("dedupe = [\"identity\", \"text\", \"age\"]\nfields = { age = {} }"),
        receive!("dates = { format = [\"%d/%m/%Y %H:%M\", \"%s\"], timezone = \"+03:00\" }"),
    ] {
        assert!(parse(table).is_ok(), "{table}: {:?}", parse(table).err());
    }
}
