use crate::{Changes, Config, ProviderRegistry};

const BASE: &str = r#"
[api]
keys = [{ name = "app", key = "0123456789abcdef", backends = ["*"] }]
[backends.plain]
type = "console"
[backends.own]
type = "console"
concurrency = 3
retry = { delays = ["1s"] }
[backends.kannel]
type = "kannel"
settings = { sendsms_url = "http://h/", sendsms_params = { username = "u", password = "p" } }
"#;

fn config(text: &str) -> Config {
    Config::parse("test", Some(text), [], &ProviderRegistry::builtin()).unwrap()
}

fn changes(before: &str, after: &str) -> Changes {
    config(after).changes_from(&config(before))
}

/// The keys of `changes`, with `+` for added, `~` for changed and `-` for removed.
fn named(changes: &Changes) -> Vec<String> {
    let all = [('+', &changes.added), ('~', &changes.changed), ('-', &changes.removed)];
    all.into_iter().flat_map(|(sign, keys)| keys.iter().map(move |key| format!("{sign}{key}"))).collect()
}

#[test]
fn only_what_comes_to_something_else_is_changed() {
    let same = [
        BASE.to_owned(),
        format!("# a remark\n{BASE}"),
        format!("[dispatcher]\nconcurrency = 64\n{BASE}"),
        BASE.replace("[backends.plain]\ntype = \"console\"\n", "") + "[backends.plain]\ntype = \"console\"\n",
    ];
    for text in same {
        let changes = changes(BASE, &text);
        assert!(changes.is_empty(), "{text}: {changes:?}");
        assert_eq!(changes.unchanged, 4);
    }
    for (text, expected) in [
        (format!("{BASE}[backends.new]\ntype = \"console\"\n"), vec!["+backends.new"]),
        (BASE.replace("[backends.plain]\ntype = \"console\"\n", ""), vec!["-backends.plain"]),
        (BASE.replace("http://h/", "http://other/"), vec!["~backends.kannel"]),
        // A value that the type's file has, too.
        (BASE.replace("type = \"kannel\"", "type = \"kannel\"\nconcurrency = 5"), vec!["~backends.kannel"]),
        (BASE.replace("0123456789abcdef", "fedcba9876543210"), vec!["~api.keys.app"]),
        (BASE.replace("name = \"app\"", "name = \"other\""), vec!["+api.keys.other", "-api.keys.app"]),
        // What a backend does not set itself comes from the sections.
        (
            format!("[dispatcher]\nconcurrency = 7\n{BASE}"),
            vec!["~backends.kannel", "~backends.plain", "~dispatcher.concurrency"],
        ),
        (
            format!("[retry]\ndelays = [\"7s\"]\n{BASE}"),
            vec!["~backends.kannel", "~backends.plain", "~retry.delays"],
        ),
    ] {
        assert_eq!(named(&changes(BASE, &text)), expected, "{text}");
    }
}

#[test]
fn a_secret_in_a_file_is_compared_by_what_it_holds_and_shown_nowhere() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    let text = format!(
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/\"\nform = {{ to = \"{{{{ identity }}}}\", \
         text = \"{{{{ text }}}}\" }}\nauth = {{ bearer = {{ file = \"{}\" }} }}\n",
        path.display()
    );
    let read = |secret: &str| {
        std::fs::write(&path, secret).unwrap();
        config(&text)
    };
    let (before, same, other) = (read("hush-hush"), read("hush-hush"), read("tell-all"));
    assert!(same.changes_from(&before).is_empty());
    let changes = other.changes_from(&before);
    assert_eq!(named(&changes), ["~backends.a"]);
    assert!(!before.is_same_at(&other, "backends.a") && before.is_same_at(&other, "retry"));
    assert!(!format!("{before:?}{changes:?}").contains("hush"));
}

#[test]
fn what_cannot_change_while_running_is_named() {
    for (text, expected) in [
        ("[broker]\nurl = \"embedded:elsewhere\"\n", vec!["broker.url"]),
        ("[ingress]\nlisten = \"127.0.0.1:1\"\nworkers = 3\n", vec!["ingress.listen", "ingress.workers"]),
        ("[admin]\ntoken = \"0123456789abcdef\"\n", vec!["admin.token"]),
        ("[log]\nlevel = \"debug\"\n", vec!["log.level"]),
        (
            "[compat.kannel]\n[[compat.kannel.users]]\nusername = \"u\"\npassword = \"0123456789abcdef\"\nbackend = \"a\"\n",
            vec!["compat.kannel.path"],
        ),
        (
            "[ingress]\nrate_limit = { per_address = \"5/s\" }\nmax_items = 5\n[retry]\ndelays = [\"9s\"]\n",
            vec![],
        ),
        ("[application]\ntype = \"echo\"\n", vec![]),
    ] {
        let backend = "[backends.a]\ntype = \"console\"\n";
        let changes = changes(backend, &format!("{text}{backend}"));
        assert!(!changes.is_empty(), "{text}");
        assert_eq!(changes.needing_restart(), expected, "{text}");
    }
}

#[test]
fn a_file_of_tls_that_holds_something_else_is_a_change_of_its_backend() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    let text = format!(
        "[backends.x]\ntype = \"http\"\n[backends.x.send]\nurl = \"https://h/\"\n\
         form = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\ntls = {{ ca = \"{}\" }}\n",
        file.display()
    );
    std::fs::write(&file, "one").unwrap();
    let before = config(&text);
    assert!(config(&text).changes_from(&before).is_empty());
    std::fs::write(&file, "two").unwrap();
    assert_eq!(named(&config(&text).changes_from(&before)), ["~backends.x"]);
}
