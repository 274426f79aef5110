//! What users write about access rights.

use super::*;
use crate::backend::auth::ReceiveAuth;

const MISTAKES: &[Mistake] = &[
    ("[admin]\nlisten = \"0.0.0.0:8081\"", "admin.listen", Some(2), "admin.token"),
    ("[admin]\nlisten = \"[::]:8081\"", "admin.listen", Some(2), "admin.token"),
    ("[admin]\ntoken = 7", "admin.token", Some(2), "must be a string"),
    ("[admin]\ntoken = { env = \"POSTERN_NO_SUCH\" }", "admin.token", Some(2), "POSTERN_NO_SUCH"),
    (
        "[ingress]\ntrusted_proxies = [\"10.0.0.1/8\"]",
        "ingress.trusted_proxies[0]",
        Some(2),
        "beyond its mask",
    ),
    ("[ingress]\ntrusted_proxies = \"10.0.0.1\"", "ingress.trusted_proxies", Some(2), "must be a list"),
    ("[ingress]\nclient_header = \"X-Real-IP\"", "ingress.client_header", Some(2), "\"Forwarded\""),
    (
        "[ingress]\nrate_limit = { per_address = \"50\" }",
        "ingress.rate_limit.per_address",
        Some(2),
        "\"50/s\"",
    ),
    ("[ingress]\nrate_limit = { burst = 1 }", "ingress.rate_limit.per_address", Some(2), "is missing"),
    (
        "[ingress]\nrate_limit = { per_address = \"1/s\", burst = 0 }",
        "ingress.rate_limit.burst",
        Some(2),
        "at least 1",
    ),
    ("[ingress]\nmax_connections = 0", "ingress.max_connections", Some(2), "at least 1"),
    (
        "[ingress]\nmax_connections_per_address = 0",
        "ingress.max_connections_per_address",
        Some(2),
        "at least 1",
    ),
    ("[api]\nmax_connections = 9", "api.max_connections", Some(2), "without api.listen"),
    ("[api]\nlisten = \"127.0.0.1:8090\"\nmax_connections = 0", "api.max_connections", Some(3), "at least 1"),
    (
        "[[api.keys]]\nname = \"a\"\nkey = \"k\"\nkey_sha256 = \"dc8331bcb2283e89d275a1c2fe66f7bf5ac3163ec1967f149dd7e27906365f0c\"\nbackends = [\"*\"]",
        "api.keys[0].key",
        Some(3),
        "exactly one of the two",
    ),
    (
        "[[api.keys]]\nname = \"a\"\nkey_sha256 = \"hush\"\nbackends = [\"*\"]",
        "api.keys[0].key_sha256",
        Some(3),
        "postern key",
    ),
    (
        "[[api.keys]]\nname = \"a\"\nkey_sha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\nbackends = [\"*\"]",
        "api.keys[0].key_sha256",
        Some(3),
        "the hash of an empty string",
    ),
    (
        "[[api.keys]]\nname = \"a\"\nkey = \"hush\"\nbackends = [\"*\"]\n[[api.keys]]\nname = \"b\"\nkey_sha256 = \"dc8331bcb2283e89d275a1c2fe66f7bf5ac3163ec1967f149dd7e27906365f0c\"\nbackends = [\"*\"]",
        "api.keys[1].key",
        Some(5),
        "another entry",
    ),
    (
        "[[api.keys]]\nname = \"a\"\nkey = \"k\"\nbackends = [\"*\"]\nmay = []",
        "api.keys[0].may",
        Some(5),
        "[\"send\", \"read\"]",
    ),
    (
        "[[api.keys]]\nname = \"a\"\nkey = \"k\"\nbackends = [\"*\"]\nmay = [\"read\", \"write\"]",
        "api.keys[0].may[1]",
        Some(5),
        "send",
    ),
    (
        "[[api.keys]]\nname = \"\"\nkey = \"k\"\nbackends = [\"*\"]",
        "api.keys[0].name",
        Some(2),
        "must not be empty",
    ),
    (
        "[[api.keys]]\nname = \"a\"\nkey = \"k\"\nbackends = [\"*\"]\nexpires = \"soon\"",
        "api.keys[0].expires",
        Some(5),
        "with a time zone",
    ),
    (
        "[[api.keys]]\nname = \"a\"\nkey = \"k\"\nbackends = [\"*\"]\nrate = \"1\"",
        "api.keys[0].rate",
        Some(5),
        "\"100/min\"",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { allow = [\"example.org\"] }",
        "backends.a.receive.allow[0]",
        Some(3),
        "\"192.0.2.7\"",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { digest = {} } }",
        "backends.a.receive.auth",
        Some(3),
        "\"standard_webhooks\"",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { basic = { username = \"a:b\", password = \"p\" } } }",
        "backends.a.receive.auth.basic.username",
        Some(3),
        "no colon",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { basic = { username = \"a\", password = [] } } }",
        "backends.a.receive.auth.basic.password",
        Some(3),
        "empty",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { token = { secret = \"t\" } } }",
        "backends.a.receive.auth.token",
        Some(3),
        "path = true",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { token = { secret = \"t\", header = \"X-T\", query = \"t\" } } }",
        "backends.a.receive.auth.token",
        Some(3),
        "in one place",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { token = { secret = \"t\", header = \"X T\" } } }",
        "backends.a.receive.auth.token.header",
        Some(3),
        "not a header name",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { token = { secret = \"t\", query = \"t\", prefix = \"x\" } } }",
        "backends.a.receive.auth.token.prefix",
        Some(3),
        "token in a header",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { token = { secret = [\"t\", \"a/b\"], path = true } } }",
        "backends.a.receive.auth.token.secret",
        Some(3),
        "letters, digits",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { token = { secret = \"status\", path = true } } }",
        "backends.a.receive.auth.token.secret",
        Some(3),
        "must not be \"status\"",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { hmac = { secret = \"s\" } } }",
        "backends.a.receive.auth.hmac.header",
        Some(3),
        "missing",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { hmac = { secret = \"s\", header = \"X-S\", algorithm = \"md5\" } } }",
        "backends.a.receive.auth.hmac.algorithm",
        Some(3),
        "\"sha256\"",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { hmac = { secret = \"s\", header = \"X-S\", timestamp = { header = \"X-T\", tolerance = \"0s\" } } } }",
        "backends.a.receive.auth.hmac.timestamp.tolerance",
        Some(3),
        "longer than 0",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { standard_webhooks = { secret = \"hush\" } } }",
        "backends.a.receive.auth.standard_webhooks.secret",
        Some(3),
        "24 to 64",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { hmac = { secret = \"{{ settings.absent }}\", header = \"X-S\" } } }",
        "backends.a.settings.absent",
        Some(1),
        "missing",
    ),
    (
        "[ingress]\npublic_url = \"https://sms.example.org\"",
        "ingress.public_url",
        Some(2),
        "without [[api.keys]], they could send",
    ),
    (
        "[ingress]\ntrusted_proxies = [\"127.0.0.1\"]",
        "ingress.trusted_proxies",
        Some(2),
        "set api.listen to a loopback address",
    ),
    ("[ingress]\ntls = { cert = \"c\" }", "ingress.tls.key", Some(2), "is missing"),
    ("[ingress]\ntls = true", "ingress.tls", Some(2), "must be a table"),
    (
        "[admin]\ntls = { cert = \"/no/such\", key = \"k\" }",
        "admin.tls.cert",
        Some(2),
        "/no/such cannot be read",
    ),
    ("[api]\ntls = { cert = \"c\", key = \"k\" }", "api.tls", Some(2), "without api.listen"),
];

#[test]
fn every_mistake_is_named() {
    assert_named(MISTAKES);
}

#[test]
fn a_secret_that_could_be_guessed_is_warned_of_and_taken() {
    let text = r#"
        [admin]
        token = "fifteen letters"
        [[api.keys]]
        name = "short"
        key = "hush"
        backends = ["*"]
        [[api.keys]]
        name = "long"
        key = "sixteen letters!"
        backends = ["*"]
        [[api.keys]]
        name = "hashed"
        key_sha256 = "be35011b541f98c9f5bd192c4994bc8bc45d55f6295d27032976826b64703d3e"
        backends = ["*"]
        [[compat.kannel.users]]
        username = "u"
        password = "p"
        backend = "a"
        allow = ["127.0.0.1"]
        [[compat.vumi.users]]
        username = "u"
        password = "p"
        backend = "a"
        allow = ["127.0.0.1"]
        [application]
        type = "none"
        [backends.a]
        type = "console"
        receive = { auth = { token = { secret = ["t", "a token that is long"], query = "t" } } }
        [backends.b]
        type = "http"
        receive = { auth = { basic = { username = "u", password = "{{ settings.p }}" } } }
        settings = { p = "short" }
        [backends.c]
        type = "http"
        receive = { auth = { hmac = { secret = "s", header = "X-S" } } }
        [backends.d]
        type = "http"
        receive = { auth = { token = { secret = "a token that is long", query = "t" } } }
        send = { url = "http://h/{{ identity }}?t={{ text }}", auth = { bearer = "t" } }
        "#;
    let warnings = parse(text).unwrap().warnings;
    let keys: Vec<_> = warnings.iter().map(|it| (it.key.as_str(), it.line.unwrap())).collect();
    assert_eq!(
        keys,
        [
            ("admin.token", 3),
            ("api.keys[0].key", 6),
            ("compat.kannel.users[0].password", 18),
            ("compat.vumi.users[0].password", 23),
            ("backends.a.receive.auth.token.secret", 30),
            ("backends.b.receive.auth.basic.password", 33),
            ("backends.c.receive.auth.hmac.secret", 37),
        ]
    );
    assert!(warnings.iter().all(|it| it.what.contains("postern key")), "{warnings:?}");
}

#[test]
fn others_may_reach_the_listener_that_v1_is_not_on_or_needs_a_key_on() {
    let public = "[ingress]\npublic_url = \"https://sms.example.org\"\ntrusted_proxies = [\"127.0.0.1\"]\n";
    for more in
        ["[api]\nlisten = \"127.0.0.1:8090\"", "[[api.keys]]\nname = \"a\"\nkey = \"k\"\nbackends = [\"*\"]"]
    {
        assert!(parse(&format!("{public}{more}")).is_ok(), "{more}");
    }
}

#[test]
fn who_serves_no_provider_needs_no_certificate_of_theirs() {
    let config = parse("[ingress]\ntls = { cert = \"/no/such\", key = \"/no/such\" }").unwrap();
    assert!(config.ingress.tls.is_some());
}

#[test]
fn a_backends_auth_takes_the_place_of_its_types_and_its_address_holds_a_token_of_the_path() {
    let backend = |receive: &str| {
        let text = format!(
            "[ingress]\npublic_url = \"https://h\"\n[api]\nlisten = \"127.0.0.1:0\"\n[backends.a]\ntype = \"twilio\"\n\
             settings = {{ account_sid = \"a\", auth_token = \"b\", from = \"c\", token = [\"new\", \"old\"] }}\n{receive}"
        );
        let config = parse(&text).unwrap();
        config.backends.into_values().next().unwrap()
    };
    let url = |receive| backend(receive).status_url.as_ref().unwrap().expose().to_owned();
    assert!(matches!(backend("").definition.receive.auth, ReceiveAuth::Twilio { .. }));
    let basic = "receive = { auth = { basic = { username = \"u\", password = \"p\" } } }";
    assert!(matches!(backend(basic).definition.receive.auth, ReceiveAuth::Basic { .. }));
    assert!(matches!(backend("receive = { auth = \"none\" }").definition.receive.auth, ReceiveAuth::None));
    let path = "receive = { auth = { token = { path = true, secret = \"{{ settings.token }}\" } } }";
    assert_eq!(url(path), "https://h/backends/a/new/status");
    assert_eq!(url(basic), "https://h/backends/a/status");
    assert!(!format!("{:?}", backend(path)).contains("new"));
}
