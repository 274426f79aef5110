//! `providers`: a folder of further provider files.

use super::parse;
use crate::{Config, InvalidConfig, Loader, NeededSecrets, ProviderRegistry};
use std::path::Path;
use tempfile::TempDir;

const ACME: &str = r#"
connector = "http"
required_settings = ["token"]

[about]
title = "Acme"
documentation = "https://docs.acme.example"
setup = "The address is {receive}."
[about.settings]
token = "The account's token."
[receive]
params = { identity = "from" }
[send]
url = "https://api.acme.example/send"
auth = { bearer = "{{ settings.token }}" }
form = { to = "{{ identity }}", text = "{{ text }}" }
"#;
const BACKEND: &str = "[backends.a]\ntype = \"acme\"\nsettings = { token = \"hush\" }\n";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn with(folder: &Path, backends: &str) -> Result<Config, InvalidConfig> {
    parse(&format!("providers = \"{}\"\n{backends}", folder.display()))
}

#[test]
fn each_file_of_the_folder_is_a_type() {
    let folder =
        folder(&[("acme.toml", ACME), ("notes.txt", "none"), ("other.toml", "connector = \"http\"")]);
    std::fs::create_dir(folder.path().join("acme")).unwrap();
    let config = with(folder.path(), BACKEND).unwrap();
    let backend = config.backends.values().next().unwrap();
    assert_eq!(backend.definition.receive.param("identity").collect::<Vec<_>>(), ["from"]);
    assert!(backend.definition.connector.sends());
    let table = format!("providers = {{ dir = \"{}\" }}\n{BACKEND}", folder.path().display());
    assert!(parse(&table).is_ok());
}

#[test]
fn a_change_of_the_file_is_a_change_of_its_backends_alone() {
    let folder = folder(&[("acme.toml", ACME), ("other.toml", "connector = \"http\"\n")]);
    let both = format!("{BACKEND}[backends.b]\ntype = \"other\"\n[backends.c]\ntype = \"console\"\n");
    let before = with(folder.path(), &both).unwrap();
    let about = ACME.replace("Acme", "ACME");
    std::fs::write(folder.path().join("acme.toml"), about).unwrap();
    assert!(with(folder.path(), &both).unwrap().changes_from(&before).is_empty());
    std::fs::write(folder.path().join("acme.toml"), ACME.replace("/send", "/v2/send")).unwrap();
    let changes = with(folder.path(), &both).unwrap().changes_from(&before);
    assert_eq!(changes.changed, ["backends.a"]);
    assert!(changes.needing_restart().is_empty());
}

/// The text of `acme.toml`, the backend, and what the only problem must contain.
type Mistake<'m> = (&'m str, &'m str, &'m str);

#[test]
fn a_mistake_names_the_file_and_its_line() {
    let unknown_status = ACME.replace("[receive]\n", "[receive]\nmethds = []\n");
    let untold = ACME.replace("token = \"The account's token.\"\n", "tken = \"The account's token.\"\n");
    let untitled = ACME.replace("title = \"Acme\"", "titel = \"Acme\"");
    let mistakes: [Mistake<'_>; 8] = [
        (&unknown_status, BACKEND, "acme.toml, line 12)"),
        (ACME, "[backends.a]\ntype = \"acme\"\n", "backends of type acme need it. The account's token."),
        (&untitled, BACKEND, "acme.toml: line 6: about.titel: unknown key"),
        ("connector = \"http\"\n[about\n", BACKEND, "acme.toml: line 2: "),
        ("type = \"http\"\n", BACKEND, "acme.toml: line 1: type: unknown key: the name of a provider's file"),
        ("connector = \"htp\"\n", BACKEND, "acme.toml, line 1)"),
        ("[backends.a]\ntype = \"http\"\n", BACKEND, "this is a provider's file"),
        (ACME, "[backends.a]\ntype = \"acne\"\n", "did you mean acme?"),
    ];
    for (file, backend, says) in mistakes {
        let folder = folder(&[("acme.toml", file)]);
        let problems = with(folder.path(), backend).expect_err(says).problems;
        assert!(problems.iter().any(|problem| problem.to_string().contains(says)), "{says}: {problems:?}");
    }
    let folder = folder(&[("acme.toml", &untold)]);
    let said = with(folder.path(), BACKEND).unwrap_err().to_string();
    assert!(said.contains("line 10: about.settings.tken: nothing in this file uses this setting"), "{said}");
    assert!(said.contains("about.settings.token: is missing"), "{said}");
}

#[test]
fn a_file_that_builds_on_a_type_says_only_what_is_other() {
    const SPACE: &str = "base = \"twilio\"\nrequired_settings = [\"key\"]\n[about]\ntitle = \"Space\"\nsetup = \"{receive}\"\n\
                         [about.settings]\nkey = \"A key.\"\n[receive.auth]\ntoken = { secret = \"{{ settings.key }}\", path = true }\n";
    let space = "[backends.a]\ntype = \"space\"\nsettings = { key = \"hush-key-of-the-space\", account_sid = \"a\", auth_token = \"t\" }\n";
    let folder = folder(&[("space.toml", SPACE)]);
    let config = with(folder.path(), space).unwrap();
    let definition = &config.backends.values().next().unwrap().definition;
    assert_eq!(definition.receive.param("identity").collect::<Vec<_>>(), ["From"]);
    assert!(definition.receive.auth.path_token(&definition.settings).is_some(), "one way, and not two");
    let said = with(folder.path(), &space.replace("key = ", "kye = ")).unwrap_err().to_string();
    assert!(said.contains("backends of type space need it. A key."), "{said}");
    // A file that replaces a built-in type may build on it.
    std::fs::rename(folder.path().join("space.toml"), folder.path().join("twilio.toml")).unwrap();
    let replaced =
        format!("providers = {{ dir = \"{}\", replace = [\"twilio\"] }}\n", folder.path().display());
    assert!(parse(&(replaced + &space.replace("\"space\"", "\"twilio\""))).is_ok());
}

#[test]
fn a_base_that_is_none_is_named() {
    let other = "base = \"other\"\n";
    for (base, says) in [
        ("base = 7", "acme.toml: line 1: base: must be a string; allowed: "),
        ("base = \"twlio\"", "acme.toml: line 1: base: unknown type; allowed: "),
        ("base = \"twlio\"", "did you mean twilio?"),
        // A type of the same folder.
        (other, "base: unknown type"),
        ("base = \"acme\"", "base: unknown type"),
        ("base = \"instagram\"", "base: instagram itself builds on another type; allowed: "),
    ] {
        let folder = folder(&[("acme.toml", base), ("other.toml", "connector = \"http\"")]);
        let said = with(folder.path(), "").unwrap_err().to_string();
        assert!(said.contains(says), "{base}: {said}");
    }
}

#[test]
fn a_built_in_type_is_replaced_only_if_that_is_said() {
    let folder = folder(&[("twilio.toml", ACME)]);
    let backend = BACKEND.replace("acme", "twilio");
    let said = with(folder.path(), &backend).unwrap_err().to_string();
    assert!(said.contains("replace = [\"twilio\"]"), "{said}");
    let replacing = |names: &str| {
        let dir = folder.path().display();
        parse(&format!("providers = {{ dir = \"{dir}\", replace = [{names}] }}\n{backend}"))
    };
    assert!(replacing("\"twilio\"").is_ok());
    for names in ["\"twilio\", \"kannel\"", "\"twilio\", \"acme\""] {
        let said = replacing(names).unwrap_err().to_string();
        assert!(said.contains("line 1: providers.replace: replace names"), "{said}");
    }
}

#[test]
fn a_folder_that_is_not_there_and_a_name_that_is_none_are_named() {
    let said = parse("providers = \"/nowhere/at/all\"").unwrap_err().to_string();
    assert!(said.contains("line 1: providers: the folder /nowhere/at/all cannot be read"), "{said}");
    let said = parse("providers = 7").unwrap_err().to_string();
    assert!(said.contains("a folder, or a table of dir and replace"), "{said}");
    let folder = folder(&[("My Provider.toml", ACME)]);
    let said = with(folder.path(), "").unwrap_err().to_string();
    assert!(said.contains("a-z"), "{said}");
    let said = parse("[backends.a]\ntype = \"acme\"").unwrap_err().to_string();
    assert!(said.contains("providers = \"DIR\""), "{said}");
}

#[test]
fn a_secret_that_need_not_be_there_is_not_asked_for_its_shape() {
    let absent = "{ env = \"POSTERN_TESTS_HAVE_NO_SUCH_VARIABLE\" }";
    let text = format!(
        "[backends.a]\ntype = \"http\"\nsettings = {{ key = {absent} }}\n\
         receive.auth = {{ ed25519 = {{ header = \"X-Signature\", key = \"{{{{ settings.key }}}}\" }} }}\n"
    );
    let providers = ProviderRegistry::builtin();
    let read = |loader: Loader<'_>| loader.parse("test", Some(&text), []).map(|config| config.absent_secrets);
    let needing_none = Loader::new(&providers).needing(NeededSecrets::Of(&[]));
    assert_eq!(read(needing_none).unwrap().into_iter().collect::<Vec<_>>(), ["backends.a.settings.key"]);
    assert!(read(Loader::new(&providers)).is_err());
}
