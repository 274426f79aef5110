//! Configurations that users write, right and wrong.

use crate::*;
use postern_shared::message::BackendName;
use std::time::Duration;

mod access;
mod backend_mistakes;
mod batches;
mod bodies;
mod files;
mod message_mistakes;
mod mistakes;
mod provider_folder;
mod send_auth_mistakes;
mod signatures;
mod templates;
mod warnings;

fn parse(text: &str) -> Result<Config, InvalidConfig> {
    parse_with(text, &[])
}

fn parse_with(text: &str, environment: &[(&str, &str)]) -> Result<Config, InvalidConfig> {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse("test.toml", Some(text), environment, &ProviderRegistry::builtin())
}

#[test]
fn the_builtin_configuration_runs_and_its_trials_stay_out_of_a_file() {
    let builtin = Config::parse("built-in", None, [], &ProviderRegistry::builtin()).unwrap();
    assert!(matches!(builtin.application, ApplicationSection::Echo));
    assert_eq!(builtin.backends.keys().map(BackendName::as_str).collect::<Vec<_>>(), ["demo"]);
    let empty = parse("").unwrap();
    assert!(matches!(empty.application, ApplicationSection::None));
    assert!(empty.backends.is_empty());
    assert_eq!(empty.ingress.listen, builtin.ingress.listen);
    let echo = parse("[application]\ntype = \"echo\"").unwrap();
    assert!(matches!(echo.application, ApplicationSection::Echo));
}

#[test]
fn the_contracts_example_is_taken() {
    let config = parse(
        r#"
        [broker]
        url = "amqp://user:pass@host:5672/vhost"
        [[api.keys]]
        name = "clinic-app"
        key = { env = "PATH" }
        backends = ["*"]
        [retry]
        delays = ["5s", "30s", "2m", "10m", "1h"]
        [backends.mybackend]
        type = "http"
        [backends.mybackend.receive]
        methods = ["GET", "POST"]
        params = { identity = "phone", text = "message" }
        reply = { status = 200, body = "OK" }
        [backends.mybackend.receive.fields]
        extra = { type = "string", required = true, max_length = 20 }
        [[backends.mybackend.receive.checks]]
        expr = 'identity == "1231231234"'
        error = "SMS received from number other than 1231231234"
        [backends.mybackend.send]
        url = "http://127.0.0.1:9009/send"
        method = "POST"
        form = { to = "{{ identity }}", text = "{{ text }}" }
        headers = { X-Message-Id = "{{ id }}" }
        auth = { basic = { username = "u", password = { env = "PATH" } } }
        recipients = "each"
        batch = 100
        external_id = "/id"
        success = { status = ["2xx"], body = "" }
        timeout = "10s"
        "#,
    )
    .unwrap();
    let backend = &config.backends.values().next().unwrap();
    assert_eq!(backend.definition.receive.param("identity").collect::<Vec<_>>(), ["phone"]);
    assert_eq!(backend.definition.receive.param("extra").collect::<Vec<_>>(), ["extra"]);
    assert_eq!(backend.retry.delays.len(), 5);
    #[expect(clippy::disallowed_methods, reason = "what a variable holds is compared")]
    let path = std::env::var("PATH").unwrap();
    assert!(!format!("{config:?}").contains(&path));
}

/// A mistake: the text, the key that must be named, its line, and what the error must contain.
type Mistake<'m> = (&'m str, &'m str, Option<usize>, &'m str);

fn assert_named(mistakes: &[Mistake<'_>]) {
    for (text, key, line, says) in mistakes {
        let problems = parse(text).expect_err(text).problems;
        let [problem] = &problems[..] else { panic!("{text}: {problems:?}") };
        assert_eq!((problem.key.as_str(), problem.line), (*key, *line), "{text}: {problem}");
        assert!(problem.what.contains(says), "{text}: {problem}");
    }
}

/// Like [`assert_named`], for valid texts: there is exactly one warning that names the key.
fn assert_warned(mistakes: &[Mistake<'_>]) {
    for (text, key, line, says) in mistakes {
        let warnings = parse(text).expect(text).warnings;
        let ours: Vec<_> = warnings.iter().filter(|warning| warning.key == *key).collect();
        let [warning] = &ours[..] else { panic!("{text}: {warnings:?}") };
        assert_eq!(warning.line, *line, "{text}: {warning}");
        assert!(warning.what.contains(says), "{text}: {warning}");
    }
}

#[test]
fn a_webhook_has_the_documented_defaults() {
    let key = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let head =
        "[retry]\ndelays = [\"7s\"]\n[application]\ntype = \"webhook\"\nurl = \"http://h/?token=hush\"\n";
    let config = parse(&format!("{head}secret = \"{key}\"")).unwrap();
    let ApplicationSection::Webhook(webhook) = &config.application else { panic!("no webhook") };
    assert_eq!((webhook.format, webhook.wants_reports()), (WebhookFormat::Json, true));
    assert_eq!((webhook.timeout.0, webhook.concurrency), (Duration::from_secs(10), 64));
    assert_eq!(webhook.secrets.0.iter().map(|key| key.expose().len()).collect::<Vec<_>>(), [32]);
    let printed = format!("{config:?}");
    assert!(!printed.contains("hush") && !printed.contains("AAECAw"), "{printed}");
    let form = parse(&format!("{head}format = \"form\"")).unwrap();
    let ApplicationSection::Webhook(webhook) = &form.application else { panic!("no webhook") };
    assert!(webhook.secrets.0.is_empty() && !webhook.wants_reports());
}

#[test]
fn one_run_finds_all_mistakes_in_the_order_of_their_lines() {
    let error = parse(
        "[ingress]\nlisten = 1\nmax_fields = \"x\"\nodd = 1\n[backends.a]\ntype = \"http\"\n\
         [backends.a.send]\nurl = 7\nbatch = \"x\"\n[log]\nlevel = 3\n",
    )
    .unwrap_err();
    let keys: Vec<_> = error.problems.iter().map(|p| p.key.as_str()).collect();
    assert_eq!(
        keys,
        [
            "ingress.listen",
            "ingress.max_fields",
            "ingress.odd",
            "backends.a.send.url",
            "backends.a.send.batch",
            "log.level"
        ]
    );
    assert!(error.to_string().starts_with("test.toml: line 2: ingress.listen: "), "{error}");
}

/// Unreadable keys, mistakes beyond the types, and mistakes between sections.
#[test]
fn one_run_finds_mistakes_of_every_kind() {
    let error = parse(
        r#"
        [ingress]
        listen = "0.0.0.0:8080"
        max_body = 0
        odd = 1
        [[api.keys]]
        name = "a"
        key = "k"
        backends = ["a", "c", "nobody"]
        [[api.keys]]
        name = 7
        key = "l"
        backends = ["nobody"]
        [application]
        type = "webhook"
        [retry]
        delays = [7, "1ms", "x"]
        [breaker]
        pause = "1h"
        max_pause = 1
        [backends.a]
        type = "http"
        concurrency = "x"
        concurrency_max = 3
        rate = "often"
        [backends.a.receive]
        form = "none-such"
        [backends.a.send]
        batch = 3
        [backends.b]
        type = "twilio"
        [backends.c]
        [compat.vumi]
        users = [{ username = "u", password = "p", backend = "a" }, { username = "u:", password = "p", backend = "d" }]
        "#,
    )
    .unwrap_err();
    let keys: Vec<_> = error.problems.iter().map(|p| (p.key.as_str(), p.line.unwrap())).collect();
    assert_eq!(
        keys,
        [
            ("ingress.public_url", 2),
            ("ingress.max_body", 4),
            ("ingress.odd", 5),
            ("api.keys[0].backends", 9),
            ("api.keys[1].name", 11),
            ("api.keys[1].backends", 13),
            ("application.url", 14),
            ("application.secret", 14),
            ("retry.delays[0]", 17),
            ("retry.delays[2]", 17),
            ("retry.delays[1]", 17),
            ("breaker.max_pause", 20),
            ("backends.a.concurrency", 23),
            ("backends.a.rate", 25),
            ("backends.a.receive.form", 27),
            ("backends.a.send.url", 28),
            ("backends.b.settings.account_sid", 30),
            ("backends.b.settings.auth_token", 30),
            ("backends.b.settings.from", 30),
            ("backends.c.type", 32),
            ("compat.vumi.users[1].username", 34),
            ("compat.vumi.users[1].backend", 34),
        ]
    );
}

#[test]
fn no_problem_quotes_a_secret() {
    let error = parse(
        "[broker]\nurl = \"redis://hush\"\n[[api.keys]]\nname = \"a\"\nkey = { enw = \"hush\" }\nbackends = [\"*\"]\n\
         [backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/\"\nauth = { bearrer = \"hush\" }\n",
    )
    .unwrap_err();
    assert_eq!(error.problems.len(), 3, "{error}");
    assert!(!error.to_string().contains("hush"), "{error}");
}

#[test]
fn the_environment_lies_over_the_file_and_is_named_without_a_line() {
    let file = "[dispatcher]\nconcurrency = 8\n[[api.keys]]\nname = \"a\"\nkey = \"k\"\nbackends = []\n";
    let config = parse_with(
        file,
        &[
            ("POSTERN__DISPATCHER__CONCURRENCY", "9"),
            ("POSTERN__BROKER__URL", "embedded:x"),
            ("POSTERN__LOG__LEVEL", "5"),
        ],
    )
    .unwrap();
    assert_eq!((config.dispatcher.concurrency, config.log.level.as_str()), (9, "5"));
    let error = parse_with(file, &[("POSTERN__DISPATCHER__CONCURRENCY", "0")]).unwrap_err();
    assert_eq!(error.problems[0].line, None);
    let error = parse_with(file, &[("POSTERN__DISPATCHR__X", "0")]).unwrap_err();
    assert_eq!(error.problems[0].key, "dispatchr");
}
