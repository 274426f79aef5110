//! What users write about signatures and signed tokens.

use super::*;

const MISTAKES: &[Mistake] = &[
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { hmac = { secret = \"s\", header = \"X-S\", timestamp = { tolerance = \"1m\" } } } }",
        "backends.a.receive.auth.hmac.timestamp.header",
        Some(3),
        "missing",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { hmac = { secret = \"s\", header = \"X-S\", tolerance = \"1m\" } } }",
        "backends.a.receive.auth.hmac.tolerance",
        Some(3),
        "timestamp",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { hmac = { secret = \"s\", header = \"X-S\", timestamp = { header = \"X-T\", tolerance = \"25h\" } } } }",
        "backends.a.receive.auth.hmac.timestamp.tolerance",
        Some(3),
        "at most 24h",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { hmac = { secret = \"s\", header = \"X-S\", prefix = \"v1,\" } } }",
        "backends.a.receive.auth.hmac.prefix",
        Some(3),
        "contains a comma",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { hmac = { secret = \"s\", header = \"X-S\", signed = \"{{ headers['x-nonce'] }}\" } } }",
        "backends.a.receive.auth.hmac.signed",
        Some(3),
        "neither the body nor the address",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { hmac = { secret = \"s\", header = \"X-S\", signed = \"{{ timestamp }}.{{ body }}\" } } }",
        "backends.a.receive.auth.hmac.signed",
        Some(3),
        "timestamp = { header",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { hmac = { secret = \"s\", header = \"X-S\", signed = \"{{ body }}\", timestamp = { header = \"X-T\" } } } }",
        "backends.a.receive.auth.hmac.timestamp",
        Some(3),
        "is not signed",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { hmac = { secret = \"s\", header = \"X-S\", signed = \"{{ bdy }}\" } } }",
        "backends.a.receive.auth.hmac.signed",
        Some(3),
        "did you mean body?",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { hmac = { secret = \"s\", header = \"X-S\", signed = \"{{ body | sha512 }}\" } } }",
        "backends.a.receive.auth.hmac.signed",
        Some(3),
        "unknown filter sha512",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { ed25519 = { key = \"hush\", header = \"X-S\" } } }",
        "backends.a.receive.auth.ed25519.key",
        Some(3),
        "32 bytes in Base64",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { ed25519 = { header = \"X-S\" } } }",
        "backends.a.receive.auth.ed25519.key",
        Some(3),
        "missing",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { ed25519 = { key = \"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\", header = \"X-S\", encoding = \"pem\" } } }",
        "backends.a.receive.auth.ed25519.encoding",
        Some(3),
        "base64",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { jwt = { claims = { payload_hash = \"{{ body | sha256 }}\" } } } }",
        "backends.a.receive.auth.jwt.secret",
        Some(3),
        "missing",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { jwt = { secret = \"s\", claims = { exp = \"1\" } } } }",
        "backends.a.receive.auth.jwt.claims.exp",
        Some(3),
        "set tolerance",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { jwt = { secret = \"s\", claims = { ts = \"{{ timestamp }}\" } } } }",
        "backends.a.receive.auth.jwt.claims.ts",
        Some(3),
        "unknown name timestamp",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { jwt = { secret = \"s\", algorithm = \"HS512\" } } }",
        "backends.a.receive.auth.jwt.algorithm",
        Some(3),
        "unknown key",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { jwt = { secret = \"s\", tolerance = \"0s\" } } }",
        "backends.a.receive.auth.jwt.tolerance",
        Some(3),
        "longer than 0",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { token = { secret = \"t\", body = \"\" } } }",
        "backends.a.receive.auth.token.body",
        Some(3),
        "JSON pointer",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { auth = { hmac = { secret = \"s\", header = \"X-S\", signed = \"{{ url }}{{ body }}\" } } }",
        "ingress.public_url",
        None,
        "signed over the address",
    ),
];

#[test]
fn every_mistake_is_named() {
    assert_named(MISTAKES);
}

#[test]
fn a_signature_of_the_address_alone_is_warned_of() {
    let warned = |methods: &str, signed: &str| {
        let text = format!(
            "[ingress]\npublic_url = \"https://h\"\n[api]\nlisten = \"127.0.0.1:0\"\n[application]\ntype = \"none\"\n\
             [backends.a]\ntype = \"http\"\n[backends.a.receive]\nmethods = [{methods}]\n\
             auth = {{ hmac = {{ secret = \"a secret that is long\", header = \"X-S\", signed = \"{signed}\" }} }}"
        );
        let warnings = parse(&text).unwrap().warnings;
        warnings.iter().map(|it| (it.key.clone(), it.line.unwrap())).collect::<Vec<_>>()
    };
    let wanted = [("backends.a.receive.auth.hmac.signed".to_owned(), 11)];
    assert_eq!(warned("\"GET\", \"POST\"", "{{ url }}"), wanted);
    assert_eq!(warned("\"GET\"", "{{ url }}"), []);
    assert_eq!(warned("\"POST\"", "{{ url }}{{ parameters }}"), []);
}

#[test]
fn what_a_built_in_type_leaves_unsigned_is_warned_of_only_where_a_user_writes_it() {
    let address = r#"{ hmac = { secret = "a secret that is long", header = "X-S", signed = "{{ url }}" } }"#;
    let own = format!("receive.auth = {address}\n");
    let warned = |providers: &str, kind: &str, own: &str, environment: &[(&str, &str)]| {
        let text = format!(
            "{providers}\n[ingress]\npublic_url = \"https://h\"\n[api]\nlisten = \"127.0.0.1:0\"\n\
             [application]\ntype = \"none\"\n[backends.a]\ntype = \"{kind}\"\n{own}[backends.a.settings]\n\
             auth_id = \"MA\"\nauth_token = \"a secret that is long\"\nsrc = \"15550000\"\n"
        );
        let warnings = parse_with(&text, environment).unwrap().warnings;
        warnings.iter().any(|it| it.key == "backends.a.receive.auth.hmac.signed")
    };
    assert!(!warned("", "plivo", "", &[]));
    assert!(warned("", "plivo", &own, &[]));
    assert!(warned("", "plivo", "", &[("POSTERN__BACKENDS__A__RECEIVE__AUTH", address)]));
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in
        [("based", "base = \"plivo\"\n".to_owned()), ("signs", format!("base = \"plivo\"\n{own}"))]
    {
        std::fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
    }
    let providers = format!("providers = \"{}\"", folder.path().display());
    assert!(!warned(&providers, "based", "", &[]));
    assert!(warned(&providers, "signs", "", &[]));
}

/// The stand-in for a setting that is not on this machine is not checked as a key.
#[test]
fn a_key_that_is_not_on_this_machine_is_no_mistake_without_secrets() {
    for auth in ["ed25519 = { header = \"X-S\", key", "standard_webhooks = { secret"] {
        let text = format!(
            "[backends.a]\ntype = \"http\"\nreceive = {{ auth = {{ {auth} = \"{{{{ settings.key }}}}\" }} }} }}\n\
             [backends.a.settings]\nkey = {{ env = \"POSTERN_TEST_NOT_SET\" }}\n"
        );
        let providers = ProviderRegistry::builtin();
        let needing = |secrets| Loader::new(&providers).needing(secrets).parse("test.toml", Some(&text), []);
        let config = needing(NeededSecrets::Of(&[])).unwrap();
        assert!(config.lacks_secret("backends.a.settings.key"), "{:?}", config.absent_secrets);
        let problems = needing(NeededSecrets::All).unwrap_err().problems;
        assert_eq!(
            problems.iter().map(|it| it.key.as_str()).collect::<Vec<_>>(),
            ["backends.a.settings.key"]
        );
    }
}
