//! Files that are not TOML, and common mistakes in addresses and secrets.

use super::{Mistake, assert_named, parse};

const MISTAKES: &[Mistake] = &[
    ("[broker]\nurl = \"embedded:x\"\nurl = \"embedded:y\"", "broker.url", Some(3), "twice, first in line 2"),
    ("[broker]\n[ingress]\n[broker]", "broker", Some(3), "first in line 1"),
    (
        "[[api.keys]]\nname = \"a\"\n[[api.keys]]\nname = \"b\"\nrate = \"1/s\"\n\"name\" = \"c\"",
        "api.keys[1].name",
        Some(6),
        "first in line 4",
    ),
    (
        "[ingress]\ntls = { cert = \"a\", key = \"b\", cert = \"c\" }",
        "ingress.tls.cert",
        Some(2),
        "first in line 2",
    ),
    ("[broker]\nurl = “embedded:x”", "", Some(2), "curly quotes in column 7"),
    ("[broker]\nurl = \"embedded:x”\n", "", Some(2), "curly quotes in column 18"),
    ("[broker]\nurl\u{a0}= \"embedded:x\"", "", Some(2), "column 4: an invisible character"),
    ("broker:\n  url: embedded:x\n", "", Some(1), "looks like YAML"),
    ("---\nbroker:\n  url: x\n", "", Some(1), "looks like YAML"),
    ("\n{ \"broker\": { \"url\": \"embedded:x\" } }", "", Some(1), "looks like JSON"),
    ("[broker]\nurl = embedded:x", "", Some(2), "needs quotes"),
    ("[broker]\n// the broker\nurl = \"embedded:x\"", "", Some(2), "begins with #"),
    ("[application]\ntype = \"none\"\nreports = True", "", Some(3), "true or false"),
    ("[ingress]\nlisten = \":8080\"", "ingress.listen", Some(2), "\"127.0.0.1:8080\""),
    ("[ingress]\nlisten = \"localhost:8080\"", "ingress.listen", Some(2), "\"127.0.0.1:8080\""),
    ("[ingress]\nlisten = 8080", "ingress.listen", Some(2), "\"127.0.0.1:8080\""),
    ("[admin]\nlisten = \":8081\"", "admin.listen", Some(2), "\"127.0.0.1:8081\""),
    ("[api]\nlisten = \"localhost\"", "api.listen", Some(2), "and a port"),
    ("[dispatcher]\nconcurrency = 70000", "dispatcher.concurrency", Some(2), "from 0 to 65535"),
    ("[breaker]\nfailures = 1.5", "breaker.failures", Some(2), "from 0 to 4294967295"),
    ("[ingress]\nmax_body = \"1M\"", "ingress.max_body", Some(2), "a whole number, 0 or more"),
    ("[broker]\nurl = \"$AMQP_URL\"", "broker.url", Some(2), "{ env = \"NAME\" }"),
    ("[broker]\nurl = \"amqp://u:${PASS}@h/\"", "broker.url", Some(2), "{ env = \"NAME\" }"),
    ("[admin]\ntoken = \"%ADMIN_TOKEN%\"", "admin.token", Some(2), "{ env = \"NAME\" }"),
    (
        "[[api.keys]]\nname = \"a\"\nkey = \"${KEY}\"\nbackends = [\"*\"]",
        "api.keys[0].key",
        Some(3),
        "{ env = \"NAME\" }",
    ),
    (
        "[backends.a]\ntype = \"kannel\"\n[backends.a.settings]\nsendsms_params = { password = \"$PASSWORD\" }",
        "backends.a.settings.sendsms_params",
        Some(4),
        "{ env = \"NAME\" }",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\nauth = { basic = { username = \"u\", password = [\"$OLD\", \"new\"] } }",
        "backends.a.receive.auth.basic.password[0]",
        Some(4),
        "{ env = \"NAME\" }",
    ),
    ("[broker]\nurll = \"embedded:x\"", "broker.urll", Some(2), "did you mean url?"),
    ("[log]\nlevel = \"verbose\"", "log.level", Some(2), "must be error, warn, info"),
    ("[log]\nlevel = \"info,warning\"", "log.level", Some(2), "did you mean warn?"),
    (
        "[ingress]\nlisten = \"127.0.0.1:9000\"\n[admin]\nlisten = \"127.0.0.1:9000\"",
        "admin.listen",
        Some(4),
        "the port of ingress.listen",
    ),
    ("[backends.a]\ntype = \"twillio\"", "backends.a.type", Some(2), "did you mean twilio?"),
    ("[application]\ntype = \"web-hook\"", "application.type", Some(2), "did you mean webhook?"),
    (
        "[dispatcher]\nbackends = [\"clinc\"]\n[backends.clinic]\ntype = \"console\"",
        "dispatcher.backends",
        Some(2),
        "did you mean clinic?",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive.params = { text = \"{{ message }}\" }",
        "backends.a.receive.params.text",
        Some(3),
        "not a template",
    ),
    (
        "[backends.a]\ntype = \"http\"\nstatus = { params = { state = \"$.status\" }, states = { a = \"sent\" } }",
        "backends.a.status.params.state",
        Some(3),
        "JSON pointer",
    ),
    (
        "[backends.a]\ntype = \"http\"\nsend = { url = \"http://h/{{ identity }}/{{ text }}\", timeout = \"1h\" }",
        "backends.a.send.timeout",
        Some(3),
        "at most 10m",
    ),
    ("[log]\nformat = \"jsn\"", "log.format", Some(2), "did you mean \"json\"?"),
];

#[test]
fn what_is_often_written_by_mistake_is_named_with_what_to_write() {
    assert_named(MISTAKES);
}

#[test]
fn a_byte_order_mark_and_other_line_ends_are_taken() {
    assert!(parse("\u{feff}[broker]\r\nurl = \"embedded:x\"\r\n").is_ok());
}

#[test]
fn every_line_that_is_wrong_is_named_once() {
    let error = parse("[broker]\nurl = embedded:x\n[log]\nlevel = 'info\n[log]\n").unwrap_err();
    let lines: Vec<_> = error.problems.iter().filter_map(|problem| problem.line).collect();
    assert_eq!(lines, [2, 4, 5], "{error}");
}
