//! `postern-ingress` as a program: its arguments and its exit codes.

use std::{
    io::Write,
    net::TcpListener,
    process::{Command, Output},
};
use tempfile::NamedTempFile;

/// Runs the program in a folder of its own, which is removed with everything in it.
fn run(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_postern-ingress"))
        .args(arguments)
        .current_dir(folder.path())
        .env_remove("POSTERN_CONFIG")
        .output()
        .unwrap()
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn ends_with(text: &str, status: i32) -> String {
    let file = file(text);
    let output = run(&["--config", file.path().to_str().unwrap()]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    stderr
}

#[test]
fn help_explains_both_flags_and_version_is_the_packages() {
    let help = run(&["--help"]);
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    assert!(help.status.success());
    for says in ["--config", "POSTERN_CONFIG", "--admin-listen", "/metrics"] {
        assert!(text.contains(says), "{says} is not in {text}");
    }
    let version = String::from_utf8_lossy(&run(&["--version"]).stdout).into_owned();
    assert_eq!(version.trim(), concat!("postern-ingress ", env!("CARGO_PKG_VERSION")));
    assert_eq!(run(&["--nonsense"]).status.code(), Some(2));
}

#[test]
fn a_bad_configuration_is_status_2_with_every_problem() {
    let why = ends_with("[ingress]\nlisten = 7\n[brokr]\n", 2);
    assert!(why.contains("line 2: ingress.listen") && why.contains("line 3: brokr"), "{why}");
    let why = ends_with("[log]\nlevel = \"a=b=c\"\n[broker]\nurl = \"amqp://h/\"\n", 2);
    assert!(why.contains("log.level"), "{why}");
    let amqp = "[broker]\nurl = \"amqp://127.0.0.1:9/\"\n";
    let fields = "receive = { fields = { n = { type = \"integer\", default = \"x\" } } }\n";
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let ingress = format!("[ingress]\nspool = \"{}\"\n", spool.display());
    let why = ends_with(&format!("{amqp}{ingress}[backends.a]\ntype = \"http\"\n{fields}"), 2);
    assert!(why.contains("backends.a.receive.fields.n.default"), "{why}");
    assert!(!spool.exists(), "the spool was made before the configuration was found wrong");
    assert!(ends_with("", 2).contains("embedded"), "nothing but the embedded store by default");
}

#[test]
fn an_embedded_store_is_refused_with_what_to_do() {
    let why = ends_with("[broker]\nurl = \"embedded:data\"\n", 2);
    assert!(why.contains("broker.url") && why.contains("`postern`") && why.contains("amqp://"), "{why}");
}

#[test]
fn a_taken_port_is_status_1_and_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let amqp = "[broker]\nurl = \"amqp://127.0.0.1:9/\"\n";
    let ingress = format!("{amqp}[ingress]\nlisten = \"{address}\"\n[admin]\nlisten = \"127.0.0.1:0\"\n");
    let admin = format!("{amqp}[ingress]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"{address}\"\n");
    for (text, key) in [(ingress, "ingress.listen"), (admin, "admin.listen")] {
        let why = ends_with(&text, 1);
        assert!(why.contains(key) && why.contains(&address.to_string()), "{why}");
    }
}
