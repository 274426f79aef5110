//! The configuration as an operator uses it: `postern check`, the environment, secrets.

use postern_tests::{Ended, Launch};
use std::path::{Path, PathBuf};

async fn check(toml: &str) -> Ended {
    Launch::gateway().own_addresses().arg("check").config(toml).run().await
}

fn said(ended: &Ended) -> String {
    format!("{}\n{}", ended.out, ended.log)
}

const RIGHT: &str =
    "[broker]\nurl = \"amqp://postern:hush-hush@localhost/\"\n[backends.demo]\ntype = \"console\"\n";

#[tokio::test]
async fn check_is_content_with_what_can_run_and_starts_nothing() {
    for toml in [RIGHT, ""] {
        let launch = Launch::gateway().own_addresses().arg("check").config(toml);
        let ended = launch.run().await;
        assert_eq!(ended.code, Some(0), "{}", said(&ended));
        assert!(!said(&ended).contains("hush"), "{}", said(&ended));
        let left: Vec<_> = std::fs::read_dir(launch.folder().path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "it made files: {left:?}");
    }
}

/// Every configuration in the folder `deploy`, and the variables that each of them names.
fn shipped() -> Vec<(PathBuf, Vec<String>)> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                // `postern provider new` puts these together: each is only a part of a file.
                if !path.ends_with("provider/skeleton") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == "toml") && !path.ends_with("Cargo.toml") {
                let text = std::fs::read_to_string(&path).unwrap();
                let named = text.split("env = \"").skip(1).map(|rest| rest.split('"').next().unwrap());
                found.push((path.clone(), named.map(str::to_owned).collect()));
            }
        }
    }
    found
}

#[tokio::test]
async fn every_shipped_configuration_is_right() {
    let shipped = shipped();
    assert!(shipped.iter().any(|(path, _)| path.ends_with("docker/postern.toml")), "{shipped:?}");
    for (path, variables) in shipped {
        // An example with backend types of its own needs its own program.
        let custom = path.ends_with("examples/custom/postern.toml");
        let program = if custom { Launch::program("postern-example-custom") } else { Launch::gateway() };
        let launch = program.own_addresses().arg("check").arg("--config").arg(path.to_str().unwrap());
        // Its secrets are files that exist only in a container.
        let docker = path.ends_with("docker/postern.toml");
        let launch = if docker { launch.arg("--without-secrets") } else { launch };
        let launch = variables.iter().fold(launch, |launch, name| launch.env(name, "a-value"));
        let ended = launch.run().await;
        assert_eq!(ended.code, Some(0), "{}: {}", path.display(), said(&ended));
    }
}

#[tokio::test]
async fn check_names_every_mistake_with_its_key_and_line() {
    let toml = r#"[broker]
urll = "embedded:x"
[ingress]
listen = "8080"
[[api.keys]]
name = "a"
key = { env = "POSTERN_TEST_NOT_SET" }
backends = ["nobody"]
[retry]
delays = ["soon"]
[backends.Big]
type = "http"
[backends.a]
type = "smtp"
[backends.b]
type = "http"
[backends.b.send]
url = "http://h/"
form = { t = "{{ txt }}" }
auth = { bearrer = "hush-hush" }
[[backends.b.receive.checks]]
expr = "identity ="
error = "no"
[admim]
"#;
    let ended = check(toml).await;
    assert_eq!(ended.code, Some(2), "{}", said(&ended));
    for (line, key) in [
        (2, "broker.urll"),
        (4, "ingress.listen"),
        (7, "api.keys[0].key"),
        (10, "retry.delays[0]"),
        (11, "backends.Big"),
        (14, "backends.a.type"),
        (19, "backends.b.send.form.t"),
        (20, "backends.b.send.auth"),
        (22, "backends.b.receive.checks[0].expr"),
        (24, "admim"),
    ] {
        let named = said(&ended).lines().any(|said| said.contains(&format!("line {line}: {key}")));
        assert!(named, "line {line}, {key}: {}", said(&ended));
    }
    assert!(!said(&ended).contains("hush"), "{}", said(&ended));
    assert!(said(&ended).contains("postern.toml"), "which file: {}", said(&ended));
}

/// A mistake that is found only when a backend is built names its file and line like one that the reader finds.
#[tokio::test]
async fn every_mistake_says_in_which_file_it_is() {
    let toml = "[backends.a]\ntype = \"http\"\nreceive.reply = { status = 204, body = \"no\" }\n";
    for ended in [check(toml).await, Launch::gateway().own_addresses().config(toml).run().await] {
        assert_eq!(ended.code, Some(2), "{}", said(&ended));
        assert!(
            ended.log.contains("postern.toml: line 3: backends.a.receive.reply.body: "),
            "{}",
            said(&ended)
        );
    }
}

#[tokio::test]
async fn a_key_that_could_be_guessed_is_warned_of_by_check_and_at_the_start() {
    let toml = "[[api.keys]]\nname = \"a\"\nkey = \"hush-hush\"\nbackends = [\"*\"]\n";
    let ended = check(toml).await;
    assert_eq!(ended.code, Some(0), "{}", said(&ended));
    assert!(ended.log.contains("warning: line 3: api.keys[0].key: is shorter than 16"), "{}", ended.log);
    assert!(ended.out.contains("valid"), "{}", ended.out);
    let postern = Launch::gateway().config(toml).start().await;
    let warned = postern.log().wait_for("\"key\":\"api.keys[0].key\"").await;
    assert!(warned.contains("\"level\":\"WARN\"") && warned.contains("postern key"), "{warned}");
    let log = postern.terminate().await.log + &said(&ended);
    assert!(!log.contains("hush"), "{log}");
}

/// The whole output of `check`.
#[tokio::test]
async fn check_says_what_to_do_better_and_strict_takes_it_as_wrong() {
    let toml = "[backends.clinic]\ntype = \"http\"\n[backends.clinic.receive]\n[backends.clinic.send]\n\
                url = \"http://127.0.0.1:9/\"\nform = { to = \"{{ identity }}\" }\n";
    let launch = Launch::gateway().own_addresses().arg("check").config(toml);
    let lenient = launch.run().await;
    assert_eq!(lenient.code, Some(0), "{}", said(&lenient));
    assert!(lenient.out.ends_with("postern.toml: valid, 1 warning; 1 backend: clinic"), "{}", lenient.out);
    let no_text = "warning: line 4: backends.clinic.send: no template in it uses {{ text }}: people do not \
                   get the message's text\n";
    assert_eq!(lenient.log.trim_end(), no_text.trim_end());
    let strict = launch.arg("--strict").run().await;
    assert_eq!((strict.code, strict.out.as_str()), (Some(2), ""), "{}", said(&strict));
    assert!(strict.log.starts_with(lenient.log.trim_end()), "{}", strict.log);
    let last = strict.log.lines().last().unwrap_or_default();
    assert!(last.ends_with("postern.toml: 1 warning, which --strict counts as mistakes"), "{last}");
    let right = Launch::gateway().own_addresses().arg("check").arg("--strict").config(RIGHT).run().await;
    assert_eq!(right.code, Some(0), "{}", said(&right));
}

/// Traces are configured by variables: a mistake that would stop the start is found by `check`.
#[tokio::test]
async fn variables_of_traces_are_checked_where_they_are_used() {
    let launch = Launch::gateway().own_addresses().arg("check").config(RIGHT);
    let wrong = launch.clone().env("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318");
    let refused = wrong.run().await;
    assert_eq!(refused.code, Some(2), "{}", said(&refused));
    assert!(refused.log.contains("OTEL_EXPORTER_OTLP_ENDPOINT: must be a URL"), "{}", refused.log);
    let elsewhere = wrong.arg("--without-secrets").run().await;
    assert_eq!(elsewhere.code, Some(0), "{}", said(&elsewhere));
    let vague = launch.env("OTEL_TRACES_EXPORTER", "otlp").run().await;
    assert_eq!(vague.code, Some(0), "{}", said(&vague));
    assert!(vague.log.starts_with("warning: OTEL_TRACES_EXPORTER is otlp"), "{}", vague.log);
}

#[tokio::test]
async fn secrets_that_are_elsewhere_stop_no_check_without_them() {
    let toml = "[broker]\nurl = { env = \"POSTERN_TEST_NOT_SET\" }\n[[api.keys]]\nname = \"a\"\n\
                key = { file = \"/no/such/key\" }\nbackends = [\"*\"]\n[ingress]\nmax_body = 1\n\
                [backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/{{ identity }}/{{ text }}\"\n\
                auth = { bearer = { env = \"POSTERN_TEST_NOT_SET\" } }\n";
    let launch = Launch::gateway().own_addresses().arg("check").config(toml);
    let with = launch.run().await;
    assert_eq!((with.code, with.log.lines().count()), (Some(2), 3), "{}", said(&with));
    let without = launch.clone().arg("--without-secrets").arg("--strict").run().await;
    assert_eq!(without.code, Some(0), "{}", said(&without));
    assert!(
        without.out.ends_with("postern.toml: valid, 3 secrets not read; 1 backend: a"),
        "{}",
        said(&without)
    );
    let wrong = Launch::gateway().own_addresses().arg("check").arg("--without-secrets");
    let wrong = wrong.config(&toml.replace("max_body = 1", "max_body = 0")).run().await;
    assert_eq!((wrong.code, wrong.log.lines().count()), (Some(2), 1), "{}", said(&wrong));
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_found_before_the_start() {
    let here = Launch::gateway().own_addresses().arg("check");
    here.folder().write("file", "");
    for (toml, key) in [
        ("[broker]\nurl = \"embedded:file/data\"\n", "broker.url"),
        ("[broker]\nurl = \"embedded:/proc/data\"\n", "broker.url"),
        ("[broker]\nurl = \"amqp://h/\"\n[ingress]\nspool = \"file\"\n", "ingress.spool"),
        ("[broker]\nurl = \"amqp://h/\"\n[log]\nurl = \"sqlite:file\"\n", "log.url"),
    ] {
        let ended = here.clone().config(toml).run().await;
        assert_eq!(ended.code, Some(2), "{}", said(&ended));
        assert!(ended.log.contains(&format!("{key}: ")) && ended.log.contains("folder"), "{}", said(&ended));
    }
}

#[tokio::test]
async fn a_file_in_another_encoding_is_recognised() {
    let launch = Launch::gateway().own_addresses().arg("check").arg("--config").arg("latin.toml");
    std::fs::write(launch.folder().path().join("latin.toml"), b"[broker]\n# caf\xe9\n").unwrap();
    let ended = launch.run().await;
    assert_eq!(ended.code, Some(2), "{}", said(&ended));
    assert!(ended.log.contains("latin.toml: line 2: ") && ended.log.contains("UTF-8"), "{}", ended.log);
}

#[tokio::test]
async fn a_wrong_configuration_stops_every_program_with_2() {
    let toml = "[broker]\nurl = \"redis://hush-hush\"\n";
    for launch in [Launch::gateway().config(toml), Launch::ingress(toml), Launch::dispatcher(toml)] {
        let ended = launch.run().await;
        assert_eq!(ended.code, Some(2), "{}", said(&ended));
        assert!(ended.log.contains("broker.url") && ended.log.contains("amqp://"), "{}", ended.log);
        assert!(!said(&ended).contains("hush"), "{}", said(&ended));
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let launch = Launch::gateway().own_addresses().arg("check").arg("--config").arg("not-there.toml");
    let ended = launch.run().await;
    assert_eq!(ended.code, Some(2), "{}", said(&ended));
    assert!(said(&ended).contains("not-there.toml"), "{}", said(&ended));
}

#[tokio::test]
async fn the_environment_wins_over_the_file() {
    let launch = Launch::gateway().own_addresses().arg("check").config(RIGHT);
    let wrong = launch.clone().env("POSTERN__DISPATCHER__CONCURRENCY", "0").run().await;
    assert_eq!(wrong.code, Some(2), "{}", said(&wrong));
    assert!(said(&wrong).contains("dispatcher.concurrency"), "{}", said(&wrong));
    let unknown = launch.clone().env("POSTERN__BROKER__URLL", "x").run().await;
    assert_eq!(unknown.code, Some(2), "{}", said(&unknown));
    assert!(said(&unknown).contains("urll"), "{}", said(&unknown));
    let right = launch.env("POSTERN__DISPATCHER__CONCURRENCY", "9").run().await;
    assert_eq!(right.code, Some(0), "{}", said(&right));
}

#[tokio::test]
async fn the_file_can_be_named_by_the_environment() {
    let launch = Launch::gateway().own_addresses().arg("check");
    launch.folder().write("other.toml", "[broker]\nurl = 7\n");
    let ended = launch.env("POSTERN_CONFIG", "other.toml").run().await;
    assert_eq!(ended.code, Some(2), "{}", said(&ended));
    assert!(said(&ended).contains("other.toml") && said(&ended).contains("broker.url"), "{}", said(&ended));
}

#[tokio::test]
async fn secrets_come_from_the_environment_from_files_and_from_credentials() {
    let toml = |key: &str| format!("{RIGHT}[[api.keys]]\nname = \"a\"\nkey = {key}\nbackends = [\"*\"]\n");
    let by_env = Launch::gateway()
        .config(&toml("{ env = \"MY_KEY\" }").replace("amqp://postern:hush-hush@localhost/", "embedded:d"));
    let postern = by_env.env("MY_KEY", "from-the-environment").start().await;
    let ask = |key: &'static str| {
        let request = postern.request(reqwest::Method::GET, "/v1/backends");
        postern_tests::fetch(request.bearer_auth(key))
    };
    let warned = postern.log().wait_for("nobody can read it").await;
    assert!(warned.contains("what people send to demo is stored"), "{warned}");
    assert_eq!(ask("from-the-environment").await.unwrap().status, 200);
    assert_eq!(ask("another").await.unwrap().status, 401);
    let by_file = Launch::gateway().own_addresses().arg("check").config(&toml("{ file = \"key.txt\" }"));
    let missing = by_file.run().await;
    assert_eq!(missing.code, Some(2), "{}", said(&missing));
    assert!(
        said(&missing).contains("key.txt") && said(&missing).contains("api.keys[0].key"),
        "{}",
        said(&missing)
    );
    by_file.folder().write("key.txt", "from-a-file\n");
    let there = by_file.run().await;
    assert_eq!(there.code, Some(0), "{}", said(&there));
    assert!(!said(&there).contains("from-a-file"), "{}", said(&there));
    let by_credential = by_file.config(&toml("{ credential = \"api-key\" }"));
    let no_unit = by_credential.run().await;
    assert!(said(&no_unit).contains("LoadCredential=api-key:PATH"), "{}", said(&no_unit));
    let folder = by_credential.folder().path().to_str().unwrap().to_owned();
    by_credential.folder().write("api-key", "from-a-credential\n");
    let loaded = by_credential.env("CREDENTIALS_DIRECTORY", &folder).run().await;
    assert_eq!(loaded.code, Some(0), "{}", said(&loaded));
    assert!(!said(&loaded).contains("from-a-credential"), "{}", said(&loaded));
}
