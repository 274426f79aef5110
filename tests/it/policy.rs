//! Rules for every package of the workspace, from Cargo.toml and ARCHITECTURE.md, and for every text.

mod plain_words;

use plain_words::files;
use postern_tests::stands_in_ids;
use std::collections::BTreeSet;
use std::path::Path;
use toml::{Table, Value};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn manifest(folder: &str) -> Table {
    let path = format!("{ROOT}/{folder}/Cargo.toml");
    std::fs::read_to_string(&path).unwrap().parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn workspace() -> Table {
    manifest(".")["workspace"].as_table().unwrap().clone()
}

fn members() -> Vec<(String, Table)> {
    let members = workspace()["members"].as_array().unwrap().clone();
    assert!(members.len() > 3, "{members:?}");
    members
        .iter()
        .map(|folder| (folder.as_str().unwrap().to_owned(), manifest(folder.as_str().unwrap())))
        .collect()
}

#[test]
fn every_package_inherits_the_lints() {
    assert_eq!(workspace()["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
    for (folder, manifest) in members() {
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        assert_eq!(
            inherits.and_then(Value::as_bool),
            Some(true),
            "{folder}/Cargo.toml: [lints] workspace = true"
        );
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let text = std::fs::read_to_string(format!("{ROOT}/ARCHITECTURE.md")).unwrap();
    let table = text.split("\n## Dependencies, and why each\n").nth(1).expect("the table's heading");
    let mut reasoned = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| --- ")).skip(1) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [crates, purpose, reason] = cells[..] else { panic!("three cells: {row}") };
        assert!(!purpose.is_empty() && !reason.is_empty(), "{row}");
        // For "rustls with ring", the crate is the first word; the rest names features.
        for name in crates.split(", ").filter_map(|name| name.split(' ').next()) {
            assert!(reasoned.insert(name.to_owned()), "{name} stands in the table twice");
        }
    }
    let dependencies = workspace()["dependencies"].as_table().unwrap().clone();
    let foreign = dependencies.iter().filter(|(_, said)| said.get("path").is_none());
    let declared: BTreeSet<String> = foreign.map(|(name, _)| name.clone()).collect();
    assert!(declared.len() > 10, "{declared:?}");
    let difference: Vec<_> = declared.symmetric_difference(&reasoned).collect();
    assert!(difference.is_empty(), "in one of Cargo.toml and ARCHITECTURE.md's table only: {difference:?}");
}

/// So the table above lists all of them, and each has one version.
#[test]
fn every_dependency_is_the_workspaces() {
    for (folder, manifest) in members() {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, said) in manifest.get(kind).and_then(Value::as_table).into_iter().flatten() {
                let inherits = said.get("workspace").and_then(Value::as_bool);
                assert_eq!(inherits, Some(true), "{folder}/Cargo.toml: {kind}: {name}.workspace = true");
            }
        }
        assert!(
            !manifest.contains_key("target"),
            "{folder}: dependencies of one system only are not looked at"
        );
    }
}

/// Ids, traces and signatures are random: a test that looks for a few of their digits fails now and then.
#[test]
fn no_test_looks_for_what_an_id_contains_by_chance() {
    let needles = |line: &str| -> Vec<String> {
        let calls = line.split('!').skip(1).filter_map(|call| call.split_once(".contains(\""));
        let needles = calls.filter_map(|(of, rest)| {
            // A call, not a macro.
            let is_negated = of.starts_with(char::is_alphabetic) && !of.contains([' ', ',']);
            rest.split_once("\")").filter(|_| is_negated).map(|(needle, _)| needle.to_owned())
        });
        needles.filter(|needle| stands_in_ids(needle)).collect()
    };
    let line =
        r#"assert!(log.contains("7") && !log.contains("X") && !log.contains("é"));"#.replace('X', "caf");
    assert_eq!(needles(&line), ["caf"]);
    let mut wrong = BTreeSet::new();
    for (folder, _) in members() {
        for file in files(&Path::new(ROOT).join(folder), ".rs") {
            // Unit tests next to the code seldom have random parts.
            if file.iter().any(|part| part == "tests") && file.iter().all(|part| part != "src") {
                let source = std::fs::read_to_string(&file).unwrap();
                for (at, line) in source.lines().enumerate() {
                    wrong.extend(
                        needles(line).iter().map(|needle| format!("{}:{}: {needle}", file.display(), at + 1)),
                    );
                }
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "take more than six digits, or other characters than 0 to 9 and a to f: {wrong:#?}"
    );
}

/// This keeps accepting usable for a listener without HTTP.
#[test]
fn accepting_a_message_knows_no_http_server() {
    let source = |file: &str| std::fs::read_to_string(format!("{ROOT}/ingress/src/{file}")).unwrap();
    let accept = source("accept.rs");
    let own: BTreeSet<&str> = accept
        .split("crate::")
        .skip(1)
        .filter_map(|rest| rest.split([';', ' ', ',', '(', ')', '\n']).next())
        .collect();
    // Imports from the package are checked below; further ones belong there, too.
    let allowed = ["{auth::Principal", "auth::Principal", "publish::MeteredPublisher"];
    assert!(own.iter().all(|path| allowed.contains(path)), "{own:?}");
    for file in ["accept.rs", "auth/principal.rs", "publish.rs"] {
        let source = source(file);
        assert!(source.contains("use postern_"), "{file}: the test reads the wrong file");
        assert!(!source.contains("actix"), "{file} knows the HTTP server");
    }
}
