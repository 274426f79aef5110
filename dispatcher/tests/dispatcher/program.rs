//! The program `postern-dispatcher`, as far as it goes without a broker.

use std::{
    io::Write,
    process::{Command, Output},
};

fn run(config: &str, arguments: &[&str]) -> Output {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(config.as_bytes()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern-dispatcher"));
    command.env("POSTERN_CONFIG", file.path()).args(arguments).output().unwrap()
}

fn refused(config: &str, arguments: &[&str], says: &[&str]) {
    let output = run(config, arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    for part in says {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(!text.contains("hush"), "{text}");
}

#[test]
fn a_wrong_configuration_ends_it_with_2_and_the_reason() {
    let amqp = "[broker]\nurl = \"amqp://u:hush@127.0.0.1:1/\"\n[backends.demo]\ntype = \"console\"\n";
    refused("", &[], &["broker.url", "`postern`", "amqp://"]);
    refused("[broker]\nurl = 7", &[], &["broker.url", "line 2"]);
    refused(amqp, &["--backends", "demo,demi"], &["--backends", "`demi`", "demo"]);
    refused(amqp, &["--backends", "De mi"], &["--backends", "a-z"]);
    refused(amqp, &["--admin-listen", "8082"], &["--admin-listen"]);
    let refusing =
        "[backends.x]\ntype = \"http\"\nsend = { url = \"http://h/\", headers = { Upgrade = \"hush\" } }\n";
    refused(&format!("{amqp}{refusing}"), &[], &["backends.x.send.headers.upgrade"]);
    refused(amqp, &["--config", "/no/such/file"], &["/no/such/file"]);
}

#[test]
fn it_says_what_it_is() {
    let version = run("", &["--version"]);
    let text = String::from_utf8(version.stdout).unwrap();
    assert_eq!(
        (text.as_str(), version.status.code()),
        (concat!("postern-dispatcher ", env!("CARGO_PKG_VERSION"), "\n"), Some(0))
    );
    let help = String::from_utf8(run("", &["--help"]).stdout).unwrap();
    for word in ["--config", "--backends", "--admin-listen", "POSTERN_CONFIG"] {
        assert!(help.contains(word), "{word} is not in {help}");
    }
}
