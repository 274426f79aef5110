//! README.md's first five minutes: the commands are run as printed, and their output is compared.

use crate::printed::{Step, assert_prints, at_ports, blocks, shell, steps};
use postern_tests::{Ended, Launch};

fn section() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let section = readme.split("## The first five minutes").nth(1).expect("the section is there");
    section.split("\n## ").next().unwrap().to_owned()
}

#[tokio::test]
async fn the_first_five_minutes_are_as_printed() {
    let section = section();
    let steps = steps(&section);
    let (run, rest) = steps.split_first().expect("there are steps");
    assert_eq!(run.command, "cargo run");
    let postern = Launch::gateway().start().await;
    postern.out().wait_for("curl").await;
    let expected = Step { command: run.command.clone(), prints: vec![] };
    let expected =
        Step { prints: run.prints.iter().map(|line| at_ports(line, &postern)).collect(), ..expected };
    assert_prints(&expected, &postern.out().text());

    let sent = [("backend", "demo"), ("outcome", "sent")];
    let mut posted = 0.0;
    for step in rest.iter().filter(|step| step.command.starts_with("curl")) {
        // A person takes a moment before the next command, and sees this state.
        postern.metric_becomes("postern_dispatch_messages_total", &sent, posted).await;
        let printed = shell(&at_ports(&step.command, &postern));
        assert_prints(step, &printed);
        let posts = !step.command.contains("metrics") && !step.prints[0].starts_with("form failed");
        posted += f64::from(u8::from(posts));
    }
    assert_eq!(posted, 2.0, "the README's metrics line counts two messages");
}

#[tokio::test]
async fn the_configuration_of_the_first_five_minutes_is_right_and_its_mistake_is_named() {
    let section = section();
    let [toml] = &blocks(&section)[..] else { panic!("there is one block") };
    let toml = &toml.text;
    let check = |toml: &str| Launch::gateway().own_addresses().config(toml).arg("check");
    let Ended { code, out, log } = check(toml).run().await;
    assert_eq!(code, Some(0), "{log}");
    let steps = steps(&section);
    let promised = steps.iter().find(|step| step.command.contains("-- check")).unwrap();
    let folder = out.find("postern.toml").expect("it names the file");
    assert_prints(promised, &out[folder..]);

    let wrong = check(&toml.replace("\nurl =", "\nurll =")).run().await;
    assert_eq!(wrong.code, Some(2));
    let mistake =
        section.split("with its line: `").nth(1).and_then(|rest| rest.split(", …`").next()).unwrap();
    assert!(wrong.log.contains(mistake), "{} does not contain {mistake}", wrong.log);
}
