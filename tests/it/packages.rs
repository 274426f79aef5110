//! Which package may use which, that files do not import each other in a circle, and that type names are unique.

use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    process::Command,
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The product's packages, and which of Postern's packages each may use: ARCHITECTURE.md, "Packages".
const ARROWS: [(&str, &[&str]); 9] = [
    ("postern-shared", &[]),
    ("postern-broker", &["postern-shared"]),
    ("postern-rabbitmq", &["postern-broker", "postern-shared"]),
    ("postern-store", &["postern-broker", "postern-shared"]),
    ("postern-config", &["postern-shared"]),
    (
        "postern-service",
        &["postern-broker", "postern-config", "postern-rabbitmq", "postern-shared", "postern-store"],
    ),
    ("postern-ingress", &["postern-broker", "postern-config", "postern-service", "postern-shared"]),
    ("postern-dispatcher", &["postern-broker", "postern-config", "postern-service", "postern-shared"]),
    (
        "postern",
        &[
            "postern-broker",
            "postern-config",
            "postern-dispatcher",
            "postern-ingress",
            "postern-service",
            "postern-shared",
            "postern-store",
        ],
    ),
];

/// The folders of the product's packages; the sources are in `src` of each.
const FOLDERS: [&str; 9] = [
    "shared",
    "shared/broker",
    "shared/rabbitmq",
    "shared/store",
    "shared/config",
    "shared/service",
    "ingress",
    "dispatcher",
    "deploy/standalone",
];

/// Servers, clients, AMQP and databases: the vocabulary must not depend on them.
const FOREIGN: [&str; 15] = [
    "actix-web",
    "actix-http",
    "axum",
    "hyper",
    "h2",
    "reqwest",
    "lapin",
    "amq-protocol",
    "amq-protocol-uri",
    "rusqlite",
    "libsqlite3-sys",
    "sqlx-core",
    "tokio-postgres",
    "rustls",
    "tokio",
];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "host-tuple"])
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The dependencies of each package without those of its tests: names by package id.
fn built_with(metadata: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let built = |dep: &&Value| {
        let kinds = dep["dep_kinds"].as_array().unwrap();
        kinds.iter().any(|kind| kind["kind"].is_null())
    };
    let uses = |node: &Value| {
        let deps = node["deps"].as_array().unwrap().iter().filter(built);
        deps.map(|dep| dep["pkg"].as_str().unwrap().to_owned()).collect()
    };
    nodes.iter().map(|node| (node["id"].as_str().unwrap().to_owned(), uses(node))).collect()
}

fn names(metadata: &Value) -> BTreeMap<String, String> {
    let packages = metadata["packages"].as_array().unwrap();
    let text = |package: &Value, key| package[key].as_str().unwrap().to_owned();
    packages.iter().map(|package| (text(package, "id"), text(package, "name"))).collect()
}

#[test]
fn packages_use_one_another_in_one_direction() {
    let metadata = metadata();
    let (names, uses) = (names(&metadata), built_with(&metadata));
    let of_ours = |id: &String| names[id].starts_with("postern");
    for (package, allowed) in ARROWS {
        let id = names.iter().find(|(_, name)| *name == package).unwrap_or_else(|| panic!("{package}")).0;
        let used: BTreeSet<&str> = uses[id].iter().filter(|id| of_ours(id)).map(|id| &*names[id]).collect();
        let more: Vec<_> = used.difference(&allowed.iter().copied().collect()).copied().collect();
        assert!(more.is_empty(), "{package} may not use {more:?}");
    }
    let below = |package: &str| {
        let id = names.iter().find(|(_, name)| *name == package).unwrap().0;
        let (mut seen, mut next) = (BTreeSet::new(), vec![id.clone()]);
        while let Some(id) = next.pop() {
            next.extend(uses[&id].iter().filter(|used| !seen.contains(*used)).cloned());
            seen.insert(id);
        }
        seen.iter().map(|id| names[id].clone()).collect::<BTreeSet<_>>()
    };
    let vocabulary = below("postern-shared");
    let foreign: Vec<_> = FOREIGN.iter().filter(|name| vocabulary.contains(**name)).collect();
    assert!(foreign.is_empty(), "below postern-shared there is {foreign:?}");
    // The list is right: these names are found in the package that uses them.
    let service = below("postern-service");
    assert!(["actix-web", "lapin", "tokio"].iter().all(|name| service.contains(*name)));
}

/// The packages that `cargo` compiles with these arguments: name and version, and features.
fn compiled(so: &[&str]) -> BTreeSet<(String, String)> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--locked", "--prefix", "none"])
        .args(["--format", "{p}|{f}"])
        .args(so)
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    // cargo marks a package that it has listed before.
    let packages = lines.lines().filter_map(|line| line.trim_end_matches(" (*)").split_once('|'));
    packages.map(|(package, features)| (package.to_owned(), features.to_owned())).collect()
}

/// Otherwise each of them would have the whole dependency tree compiled again.
#[test]
fn programs_tests_and_fuzz_targets_share_what_they_depend_on() {
    let tests = compiled(&["--edges", "normal,build,dev"]);
    let known: BTreeSet<&str> = tests.iter().map(|(package, _)| &**package).collect();
    assert!(known.len() > 300, "{known:?}");
    for others in [
        &["--edges", "normal,build"][..],
        &["--edges", "normal,build,dev", "--features", "postern-fuzz/libfuzzer"],
    ] {
        let differing: Vec<_> = compiled(others)
            .into_iter()
            .filter(|package| known.contains(&*package.0) && !tests.contains(package))
            .filter(|(package, _)| !package.starts_with("postern-fuzz "))
            .collect();
        assert!(differing.is_empty(), "other features than in tests, {others:?}: {differing:?}");
    }
}

/// Files by their module path within the package.
type Files = BTreeMap<Vec<String>, PathBuf>;

/// A file's imports from its own package, outside tests: the module, the name, and whether the import only
/// re-exports the name (`pub use`).
fn imports(files: &Files, module: &[String]) -> Vec<(Vec<String>, Option<String>, bool)> {
    let text = std::fs::read_to_string(&files[module]).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut found = Vec::new();
    let statements = text.split("\n").enumerate().filter_map(|(line, first)| {
        let hands_on = first.trim_start().starts_with("pub");
        let used = first.trim_start().trim_start_matches("pub").trim_start_matches("(crate)");
        let used = used.trim_start_matches("(super)").trim_start().strip_prefix("use ")?;
        let rest: Vec<&str> = text.split("\n").skip(line + 1).collect();
        let whole = [&[used], rest.as_slice()].concat().concat();
        Some((whole.split(';').next()?.split_whitespace().collect::<String>(), hands_on))
    });
    for (used, hands_on) in statements {
        for path in expand(&used) {
            if let Some((from, name)) = resolve(files, module, &path) {
                found.push((from, name, hands_on));
            }
        }
    }
    found
}

/// The file that `path`, imported by `module`, leads to, and the name imported from it. `None` if it is in
/// another package.
fn resolve(files: &Files, module: &[String], path: &[String]) -> Option<(Vec<String>, Option<String>)> {
    let parent = |module: &[String]| module[..module.len().saturating_sub(1)].to_vec();
    let child = |module: &[String], name: &String| [module, std::slice::from_ref(name)].concat();
    let (first, mut path) = path.split_first()?;
    let mut from = match first.as_str() {
        "crate" => Vec::new(),
        "self" => module.to_vec(),
        "super" => parent(module),
        _ if files.contains_key(&child(module, first)) => child(module, first),
        _ => return None,
    };
    while path.first().is_some_and(|part| part == "super") {
        (from, path) = (parent(&from), &path[1..]);
    }
    while let Some(part) = path.first().filter(|part| files.contains_key(&child(&from, part))) {
        (from, path) = (child(&from, part), &path[1..]);
    }
    Some((from, path.first().cloned()))
}

/// The paths in a `use` tree without spaces, as segments.
fn expand(tree: &str) -> Vec<Vec<String>> {
    let segments = |text: &str| text.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
    let Some((head, rest)) = tree.split_once('{') else { return vec![segments(tree)] };
    let (mut depth, mut item, mut all) = (0, String::new(), Vec::new());
    let head: Vec<String> = segments(head);
    for letter in rest.chars() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                all.push(std::mem::take(&mut item));
                continue;
            }
            _ => {}
        }
        item.push(letter);
    }
    all.push(item);
    all.iter()
        .filter(|item| !item.is_empty())
        .flat_map(|item| expand(item))
        .map(|path| [head.as_slice(), &path].concat())
        .collect()
}

fn modules(folder: &Path, at: &[String], files: &mut Files) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_stem().unwrap().to_str().unwrap().to_owned();
        if entry.is_dir() {
            modules(&entry, &[at, &[name]].concat(), files);
        } else if entry.extension().is_some_and(|kind| kind == "rs") && !["tests", "main"].contains(&&*name) {
            let module = if ["mod", "lib"].contains(&&*name) { at.to_vec() } else { [at, &[name]].concat() };
            files.insert(module, entry);
        }
    }
}

/// Which files each file imports. An import of a re-exported name counts as one of the file that declares it.
fn arrows(files: &Files) -> BTreeMap<Vec<String>, BTreeSet<Vec<String>>> {
    let all: BTreeMap<_, _> = files.keys().map(|module| (module.clone(), imports(files, module))).collect();
    let origin = |mut from: Vec<String>, name: Option<&String>| {
        let handed_on = |from: &Vec<String>| {
            let mut known = all.get(from)?.iter();
            known
                .find(|(_, known, hands_on)| *hands_on && known.as_ref() == name)
                .map(|(module, ..)| module.clone())
        };
        while let Some(deeper) = handed_on(&from).filter(|deeper| *deeper != from) {
            from = deeper;
        }
        from
    };
    let used = |module: &Vec<String>| {
        let taken = all[module].iter().filter(|(.., hands_on)| !hands_on);
        taken
            .map(|(from, name, _)| origin(from.clone(), name.as_ref()))
            .filter(|used| used != module)
            .collect()
    };
    files.keys().map(|module| (module.clone(), used(module))).collect()
}

#[test]
fn no_circle_of_files_imports_itself() {
    let mut circles = BTreeSet::new();
    for folder in FOLDERS {
        let mut files = BTreeMap::new();
        modules(&Path::new(ROOT).join(folder).join("src"), &[], &mut files);
        assert!(files.len() > 1, "{folder}");
        let arrows = arrows(&files);
        for start in files.keys() {
            let (mut seen, mut next) = (BTreeSet::new(), vec![(start, vec![start.join("/")])]);
            while let Some((module, way)) = next.pop() {
                for used in arrows.get(module).into_iter().flatten() {
                    let way = [way.as_slice(), &[used.join("/")]].concat();
                    if used == start && way.iter().min() == way.first() {
                        circles.insert(format!("{folder}: {}", way.join(" → ")));
                    }
                    if seen.insert(used) {
                        next.push((used, way));
                    }
                }
            }
        }
    }
    assert!(circles.is_empty(), "files import one another in circles:\n{circles:#?}");
}

/// The name of the type that `line` declares, public or not. Associated types are left out: their traits name
/// them.
fn declared(line: &str) -> Option<&str> {
    let code = line.trim_start();
    let code = match code.strip_prefix("pub") {
        Some(code) if code.starts_with('(') => code.split_once(')')?.1.trim_start(),
        Some(code) => code.trim_start(),
        None => code,
    };
    let (kind, rest) = code.split_once(' ')?;
    let declares = matches!(kind, "struct" | "enum" | "trait") || kind == "type" && !line.starts_with(' ');
    let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
    declares.then_some(&rest[..end]).filter(|name| !name.is_empty())
}

/// The types that `texts` declare more than once, each with its places.
fn declared_twice<'t>(
    texts: impl IntoIterator<Item = (&'t str, &'t str)>,
) -> BTreeMap<&'t str, Vec<&'t str>> {
    let mut places: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (file, text) in texts {
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        text.lines().filter_map(declared).for_each(|name| places.entry(name).or_default().push(file));
    }
    assert!(!places.is_empty());
    places.retain(|_, places| places.len() > 1);
    places
}

/// Except in the programs' `main.rs`, each of which has clap's `Command`.
#[test]
fn a_name_is_one_types() {
    let mut texts = BTreeMap::new();
    for folder in FOLDERS {
        let mut files = BTreeMap::new();
        modules(&Path::new(ROOT).join(folder).join("src"), &[], &mut files);
        let is_test = |module: &[String]| module.iter().any(|part| part == "tests");
        for file in files.into_iter().filter(|(module, _)| !is_test(module)).map(|(_, file)| file) {
            let name = file.strip_prefix(ROOT).unwrap().display().to_string();
            texts.insert(name, std::fs::read_to_string(file).unwrap());
        }
    }
    let twice = declared_twice(texts.iter().map(|(file, text)| (&**file, &**text)));
    assert!(twice.is_empty(), "give all but one of each another name:\n{twice:#?}");
    // Types of any kind and visibility are found.
    let more = "pub(crate) struct Envelope<'a>(&'a str);\nenum Disposition {\n    A,\n}\npub trait Broker: Send {\n    \
                type Verdict;\n}\npub type Topology = ();\n#[cfg(test)]\nmod tests {\n    struct Writer;\n}";
    let texts = texts.iter().map(|(file, text)| (&**file, &**text)).chain([("more.rs", more)]);
    assert_eq!(
        declared_twice(texts).into_keys().collect::<Vec<_>>(),
        ["Broker", "Disposition", "Envelope", "Topology"]
    );
}
