//! Like `mistakes`, about how a backend's requests authenticate themselves and which way they go.

use super::assert_named;

/// A backend whose `send` table ends with the wrong line, which is line 6.
fn with(line: &str) -> String {
    format!(
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"https://h/\"\n\
         form = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n{line}\n"
    )
}

#[test]
fn every_mistake_in_proving_names_its_key_and_what_is_allowed() {
    for (line, key, says) in [
        ("auth = { oauth = {} }", "auth", "\"oauth2\", \"aws_sigv4\""),
        (
            "auth = { oauth2 = { client_id = \"i\", client_secret = \"s\" } }",
            "auth.oauth2.token_url",
            "missing",
        ),
        (
            "auth = { oauth2 = { token_url = \"h/token\", client_id = \"i\", client_secret = \"s\" } }",
            "auth.oauth2.token_url",
            "http:// or https://",
        ),
        (
            "auth = { oauth2 = { token_url = \"https://h/{{ text }}\", client_id = \"i\", client_secret = \"s\" } }",
            "auth.oauth2.token_url",
            "a template can use settings",
        ),
        (
            "auth = { oauth2 = { token_url = \"https://u:hush@h/\", client_id = \"i\", client_secret = \"s\" } }",
            "auth.oauth2.token_url",
            "user name or password",
        ),
        (
            "auth = { oauth2 = { token_url = \"https://h/\", client_id = \"i\" } }",
            "auth.oauth2.client_secret",
            "is missing",
        ),
        (
            "auth = { oauth2 = { token_url = \"https://h/\", client_id = \"i\", client_secret = \"s\", username = \"u\" } }",
            "auth.oauth2.username",
            "grant = \"password\"",
        ),
        (
            "auth = { oauth2 = { token_url = \"https://h/\", grant = \"password\", username = \"u\" } }",
            "auth.oauth2.password",
            "is missing",
        ),
        (
            "auth = { oauth2 = { token_url = \"https://h/\", grant = \"code\", client_id = \"i\", client_secret = \"s\" } }",
            "auth.oauth2.grant",
            "\"client_credentials\" or \"password\"",
        ),
        (
            "auth = { oauth2 = { token_url = \"https://h/\", client_id = \"i\", client_secret = \"s\", client_auth = \"header\" } }",
            "auth.oauth2.client_auth",
            "\"basic\"",
        ),
        (
            "auth = { oauth2 = { token_url = \"https://h/\", client_id = \"i\", client_secret = \"s\", form = { scope = \"x\" } } }",
            "auth.oauth2.form.scope",
            "its own key in",
        ),
        (
            "auth = { oauth2 = { token_url = \"https://h/\", client_id = \"i\", client_secret = \"{{ settings.absent }}\" } }",
            "auth.oauth2.client_secret",
            "no setting absent",
        ),
        (
            "auth = { oauth2 = { token_url = \"https://h/\", client_id = \"$ID\", client_secret = \"s\" } }",
            "auth.oauth2.client_id",
            "{ env = \"NAME\" }",
        ),
        (
            "auth = { aws_sigv4 = { region = \"eu-west-1\", service = \"sms-voice\", access_key_id = \"A\" } }",
            "auth.aws_sigv4.secret_access_key",
            "missing",
        ),
        (
            "auth = { aws_sigv4 = { region = \"{{ id }}\", service = \"s\", access_key_id = \"A\", secret_access_key = \"s\" } }",
            "auth.aws_sigv4.region",
            "a template can use settings",
        ),
        (
            "auth = { bearer = \"t\" }\nheaders = { Authorization = \"Bearer t\" }",
            "headers",
            "only one of them",
        ),
    ] {
        let line_number = Some(if key == "headers" { 7 } else { 6 });
        assert_named(&[(&with(line), &format!("backends.a.send.{key}"), line_number, says)]);
    }
}

#[test]
fn every_mistake_in_the_way_to_a_provider_names_its_key_and_what_is_allowed() {
    for (line, key, says) in [
        ("tls = {}", "tls", "set ca, or cert and key"),
        ("tls = { cert = \"c.pem\" }", "tls.key", "is missing"),
        ("tls = { key = \"k.pem\" }", "tls.cert", "is missing"),
        ("tls = { pem = \"c.pem\" }", "tls.pem", "allowed here: ca, cert, key"),
        ("proxy = \"\"", "proxy", "is empty"),
        ("proxy = \"http://u:${PASSWORD}@h\"", "proxy", "{ env = "),
        ("proxy = \"{{ settings.absent }}\"", "proxy", "no setting absent"),
    ] {
        assert_named(&[(&with(line), &format!("backends.a.send.{key}"), Some(6), says)]);
    }
    let plain = with("tls = { ca = \"ca.pem\" }").replace("https://", "http://");
    assert_named(&[(&plain, "backends.a.send.tls", Some(6), "begins with http://")]);
}

#[test]
fn every_mistake_in_polling_names_its_key_and_what_is_allowed() {
    let poll = |lines: &str| {
        format!(
            "[backends.a]\ntype = \"http\"\n[backends.a.send]\nexternal_id = \"/id\"\n\
             send = \"\"\n[backends.a.poll]\n{lines}\n"
        )
        .replace(
            "send = \"\"",
            "url = \"https://h/\"\nform = { to = \"{{ identity }}\", text = \"{{ text }}\" }",
        )
    };
    let right =
        "url = \"https://h/{{ external_id }}\"\nparams = { state = \"/s\" }\nstates = { D = \"delivered\" }";
    assert!(super::parse(&poll(right)).is_ok());
    for (from, to, key, says) in [
        (
            "external_id }}",
            "external }}",
            "url",
            "a template can use id, backend, identity, external_id, settings",
        ),
        ("https://h/{{ external_id }}", "h", "url", "http:// or https://"),
        ("state = \"/s\"", "status = \"/s\", state = \"/s\"", "params.status", "use state, code, detail"),
        ("params = { state = \"/s\" }", "params = {}", "params.state", "is missing"),
        ("states = { D = \"delivered\" }", "", "states", "what the provider's words mean"),
        ("states = { D = \"delivered\" }", "states = { D = \"done\" }", "states.D", "\"delivered\""),
        ("params", "delays = []\nparams", "delays", "at least one delay"),
        ("params", "delays = [\"1m\", \"25h\"]\nparams", "delays[1]", "100ms to 24h"),
        ("params", "concurrency = 0\nparams", "concurrency", "1 to 2000"),
        ("params", "form = { id = \"{{ external_id }}\" }\nparams", "method", "use query"),
        ("params", "interval = \"1m\"\nparams", "interval", "allowed here: url, method"),
    ] {
        let text = poll(&right.replace(from, to));
        let problems = super::parse(&text).expect_err(&text).problems;
        let [problem] = &problems[..] else { panic!("{text}: {problems:?}") };
        assert_eq!(problem.key, format!("backends.a.poll.{key}"), "{text}: {problem}");
        assert!(problem.what.contains(says), "{text}: {problem}");
    }
    let without_id = poll(right).replace("external_id = \"/id\"\n", "");
    assert_named(&[(&without_id, "backends.a.poll.url", Some(7), "needs send.external_id")]);
    let receives = format!("[backends.a]\ntype = \"http\"\n[backends.a.poll]\n{right}\n");
    assert_named(&[(&receives, "backends.a.poll.url", Some(4), "nothing is sent")]);
}
