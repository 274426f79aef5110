//! Configurations that run but are probably mistakes, and what can be checked without the secrets.

use super::{Mistake, assert_warned, parse, parse_with};
use crate::{Config, InvalidConfig, Loader, NeededSecrets, ProviderRegistry};

const WARNINGS: &[Mistake] = &[
    ("", "", None, "the configuration is empty: no backend is configured"),
    ("# only words\n", "", None, "the configuration is empty"),
    ("[log]\nlevel = \"info\"", "", None, "no backend is configured"),
    (
        "[[api.keys]]\nname = \"a\"\nkey = \"0123456789abcdef\"\nbackends = []\n[backends.a]\ntype = \"console\"",
        "api.keys[0].backends",
        Some(4),
        "cannot be used",
    ),
    (
        "[[api.keys]]\nname = \"a\"\nkey = \"0123456789abcdef\"\nbackends = [\"a\"]\n[backends.a]\ntype = \"http\"",
        "api.keys[0].backends",
        Some(4),
        "without a send table",
    ),
    (
        "[[api.keys]]\nname = \"a\"\nkey = \"0123456789abcdef\"\nbackends = [\"*\"]\nexpires = \"2020-01-01T00:00:00Z\"\n[backends.a]\ntype = \"console\"",
        "api.keys[0].expires",
        Some(5),
        "is in the past",
    ),
    (
        "[broker]\nurl = \"amqp://h\"\n[[api.keys]]\nname = \"a\"\nkey = \"0123456789abcdef\"\nbackends = [\"a\"]\nmay = [\"send\", \"read\"]\n[backends.a]\ntype = \"console\"",
        "api.keys[0].may",
        Some(7),
        "while the message log is off",
    ),
    (
        "[log]\nmessages = false\n[[api.keys]]\nname = \"a\"\nkey = \"0123456789abcdef\"\nbackends = [\"a\"]\nmay = [\"read\"]\n[backends.a]\ntype = \"console\"",
        "api.keys[0].may",
        Some(7),
        "log.url to",
    ),
    (
        "[backends.a]\ntype = \"console\"\n[compat.kannel]\nusers = [{ username = \"u\", password = \"0123456789abcdef\", backend = \"a\" }]",
        "compat.kannel",
        Some(3),
        "\"0.0.0.0:8080\"",
    ),
    (
        "[broker]\nurl = \"amqp://h\"\n[log]\nhash_key = \"0123456789abcdef\"\n[backends.a]\ntype = \"console\"",
        "log.hash_key",
        Some(4),
        "has no effect",
    ),
    (
        "[broker]\nurl = \"amqp://h\"\n[log]\nmessages = false\nurl = \"sqlite:d\"\n[backends.a]\ntype = \"console\"",
        "log.url",
        Some(5),
        "turns the message log off",
    ),
    (
        "[backends.a]\ntype = \"vumi\"\n[backends.a.settings]\nsendsms_url = \"http://h/\"\nsendsms_user = \"u\"\nsendsms_pass = \"\"",
        "backends.a.settings.sendsms_pass",
        Some(6),
        "without send.auth",
    ),
    (
        "[dispatcher]\nbackends = [\"a\"]\n[backends.a]\ntype = \"console\"\n[backends.b]\ntype = \"console\"",
        "dispatcher.backends",
        Some(2),
        "leaves out b",
    ),
    (
        "[dispatcher]\nbackends = []\n[backends.a]\ntype = \"console\"",
        "dispatcher.backends",
        Some(2),
        "no message is sent",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\nreply = { body = \"got {{ text }}\" }",
        "backends.a.receive.reply.body",
        Some(4),
        "is not a template",
    ),
    (
        "[ingress]\npublic_url = \"https://h/backends/a\"\n[api]\nlisten = \"127.0.0.1:0\"",
        "ingress.public_url",
        Some(2),
        "comes before /backends/NAME",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/{{ identity }}/{{ text }}\"\nheaders = { Authorization = \"Bearer $TOKEN\" }",
        "backends.a.send.headers.Authorization",
        Some(5),
        "{{ settings.NAME }}",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/\"\njson = { to = \"{{ identity }}\", text = \"{{ text }}\", list = [{ key = \"${TOKEN}\" }] }",
        "backends.a.send.json.list[0].key",
        Some(5),
        "not replaced by an environment variable",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/{{ identity }}/{{ text }}?key=$API_KEY\"",
        "backends.a.send.url",
        Some(4),
        "backends.a.settings",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/{{ identity }}/{{ text }}\"\nform = { key = \"$token\" }",
        "backends.a.send.form.key",
        Some(5),
        "{{ settings.NAME }}",
    ),
    (
        "[application]\ntype = \"webhook\"\nformat = \"form\"\nurl = \"http://h/$PATH_OF_IT\"\n[backends.a]\ntype = \"console\"",
        "application.url",
        Some(4),
        "POSTERN__APPLICATION__URL",
    ),
    (
        "[application]\ntype = \"echo\"\n[backends.a]\ntype = \"http\"\n[backends.b]\ntype = \"console\"",
        "application.type",
        Some(2),
        "what people send to a:",
    ),
];

#[test]
fn what_is_probably_not_meant_is_warned_of() {
    assert_warned(WARNINGS);
}

#[test]
fn what_is_meant_is_not_warned_of() {
    let backends = "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/{{ identity }}/{{ text }}\"\nheaders = { Price = \"US$ 5, $5, a$BC\" }\n";
    let console = "[backends.a]\ntype = \"console\"\n";
    let user = "username = \"u\", password = \"0123456789abcdef\", backend = \"a\"";
    for text in [
        backends.to_owned(),
        format!("[application]\ntype = \"echo\"\n{console}"),
        format!("[broker]\nurl = \"amqp://h/\"\n{console}"),
        "[backends.a]\ntype = \"aws-sms\"\n[backends.a.settings]\naccess_key_id = \"k\"\nsecret_access_key = \"s\"\nregion = \"r\"\norigination_identity = \"f\"\ncallback_token = \"0123456789abcdef\"\nsession_token = \"\"\n".to_owned(),
        format!(
            "[application]\ntype = \"echo\"\n[compat.vumi]\nusers = [{{ {user}, allow = [\"127.0.0.1\"] }}]\n{console}"
        ),
    ] {
        assert_eq!(parse(&text).unwrap().warnings, [], "{text}");
    }
}

#[test]
fn a_variable_that_sets_nothing_is_named_with_the_one_that_does() {
    let text = "[broker]\nurl = \"amqp://h/\"\n[backends.a]\ntype = \"console\"\n";
    let config = parse_with(text, &[("POSTERN_DISPATCHER_CONCURRENCY", "8")]).unwrap();
    assert!(config.warnings[0].what.contains("POSTERN__DISPATCHER__CONCURRENCY"), "{:?}", config.warnings);
    for (name, says) in [
        ("POSTERN_BROKER__URL", "did you mean POSTERN__BROKER__URL?"),
        ("POSTERN__BROKER_URL", "did you mean POSTERN__BROKER__URL?"),
        (
            "POSTERN__BROKER__URLL",
            "did you mean url? (set by the environment variable POSTERN__BROKER__URLL)",
        ),
        ("POSTERN__DISPATCHR__CONCURRENCY", "did you mean dispatcher?"),
        ("POSTERN__INGRESS__MAX_FIELDS", "(set by the environment variable POSTERN__INGRESS__MAX_FIELDS)"),
    ] {
        let error = parse_with(text, &[(name, "amqp-hush")]).unwrap_err();
        let [problem] = &error.problems[..] else { panic!("{name}: {error}") };
        assert!(problem.what.contains(says) && !problem.what.contains("hush"), "{name}: {problem}");
    }
}

/// Also without a file.
#[test]
fn what_a_variable_says_names_the_variable() {
    let text = "[backends.a]\ntype = \"console\"\n[retry]\ndelays = [\"1s\"]\n";
    for (name, value, key) in [
        ("POSTERN__RETRY__DELAYS", "[\"1s\", \"soon\"]", "retry.delays[1]"),
        ("POSTERN__INGRESS__TRUSTED_PROXIES", "[\"x\"]", "ingress.trusted_proxies[0]"),
        ("POSTERN__DISPATCHER__BACKENDS", "[\"zz\"]", "dispatcher.backends"),
        (
            "POSTERN__API__KEYS",
            "[{ name = \"a\", key = \"0123456789abcdef\", backends = [\"zz\"] }]",
            "api.keys[0].backends",
        ),
    ] {
        let error = parse_with(text, &[(name, value)]).unwrap_err();
        let [problem] = &error.problems[..] else { panic!("{name}: {error}") };
        assert_eq!((problem.key.as_str(), problem.line), (key, None), "{problem}");
        assert!(problem.what.ends_with(&format!("(set by the environment variable {name})")), "{problem}");
    }
    let part = parse_with(text, &[("POSTERN__RETRY__DELAYS__1", "1ms")]).unwrap_err();
    assert!(part.to_string().contains("POSTERN__RETRY__DELAYS__1"), "{part}");

    let nobody = [("POSTERN__DISPATCHER__BACKENDS".to_owned(), "[]".to_owned())];
    let providers = ProviderRegistry::builtin();
    let builtin = Loader::new(&providers).parse("built-in", None, nobody).unwrap();
    let [warning] = &builtin.warnings[..] else { panic!("{:?}", builtin.warnings) };
    assert!(warning.what.starts_with("names no backend"), "{warning}");
}

fn without_secrets(text: &str, needed: &'static [&'static str]) -> Result<Config, InvalidConfig> {
    let providers = ProviderRegistry::builtin();
    Loader::new(&providers).needing(NeededSecrets::Of(needed)).parse("test.toml", Some(text), [])
}

const SECRETS: &str = r#"
    [broker]
    url = { env = "POSTERN_NO_SUCH" }
    [admin]
    token = { file = "/no/such" }
    tls = { cert = "/no/such", key = "/no/such" }
    [[api.keys]]
    name = "a"
    key = { env = "POSTERN_NO_SUCH" }
    backends = ["*"]
    [application]
    type = "webhook"
    url = "http://h/"
    secret = { credential = "no-such" }
    [backends.a]
    type = "twilio"
    receive = { auth = { token = { secret = [{ env = "POSTERN_NO_SUCH" }], query = "t" } } }
    settings = { account_sid = "a", auth_token = { env = "POSTERN_NO_SUCH" }, from = "c" }
    [backends.b]
    type = "http"
    send = { url = "http://h/{{ identity }}/{{ text }}", auth = { bearer = { env = "POSTERN_NO_SUCH" } } }
"#;

#[test]
fn secrets_that_are_not_needed_may_be_absent_and_nothing_else() {
    let config = without_secrets(SECRETS, &[]).unwrap();
    let absent: Vec<_> = config.absent_secrets.iter().map(String::as_str).collect();
    assert_eq!(
        absent,
        [
            "admin.tls.cert",
            "admin.tls.key",
            "admin.token",
            "api.keys[0].key",
            "application.secret",
            "backends.a.receive.auth.token.secret[0]",
            "backends.a.settings.auth_token",
            "backends.b.send.auth.bearer",
            "broker.url",
        ]
    );
    assert!(config.lacks_secret("backends.b.send.auth") && !config.lacks_secret("backends.b.send.url"));
    let error = without_secrets(SECRETS, &["broker.url", "admin.token"]).unwrap_err();
    let keys: Vec<_> = error.problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["broker.url", "admin.token"], "{error}");
    // A secret that is there is still checked, and so is everything else.
    for wrong in ["[broker]\nurl = \"redis://h\"", "[ingress]\nlisten = { env = \"POSTERN_NO_SUCH\" }"] {
        assert_eq!(without_secrets(wrong, &[]).unwrap_err().problems.len(), 1, "{wrong}");
    }
}

#[test]
fn at_the_start_an_embedded_gateway_says_whose_messages_nobody_can_read() {
    let http = "[backends.a]\ntype = \"http\"\n";
    let send = "[backends.a.send]\nurl = \"http://h/{{ identity }}/{{ text }}\"\n";
    for (text, names) in [
        (http.to_owned(), Some("to a is")),
        (format!("{http}{send}[backends.a.receive]\n"), Some("to a is")),
        ("[application]\ntype = \"none\"\n[backends.b]\ntype = \"console\"\n".to_owned(), Some("to b is")),
        (
            ["a", "b", "c", "d"].map(|name| format!("[backends.{name}]\ntype = \"console\"\n")).concat(),
            Some("to a and 3 others is"),
        ),
        // A backend that only sends.
        (format!("{http}{send}"), None),
        ("[application]\ntype = \"echo\"\n[backends.a]\ntype = \"console\"\n".to_owned(), None),
        (format!("{http}[broker]\nurl = \"amqp://127.0.0.1/\"\n"), None),
    ] {
        let config = parse(&text).unwrap();
        assert!(config.warnings.is_empty(), "{text}: {:?}", config.warnings);
        let said = config.unread_messages().map(|problem| problem.what);
        assert_eq!(said.is_some(), names.is_some(), "{text}: {said:?}");
        assert!(said.is_none_or(|said| said.contains(names.unwrap_or_default())), "{text}");
    }
}
