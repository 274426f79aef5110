//! Which doors can be opened, and what is said of the others.

use super::DoorUser;
use crate::{Catalogue, Config};
use serde_json::{Value, json};

/// The problems of `doors` beside two backends, of which `deaf` only receives.
fn problems(doors: &str) -> Vec<String> {
    let text = format!("[backends.x]\ntype = \"console\"\n[backends.deaf]\ntype = \"http\"\n{doors}\n");
    match Config::parse("test", Some(&text), [], &Catalogue::builtin()) {
        Ok(_) => Vec::new(),
        Err(invalid) => invalid.problems.iter().map(ToString::to_string).collect(),
    }
}

const USER: &str = "username = \"u\"\npassword = \"hush\"\nbackend = \"x\"\n";

#[test]
fn doors_that_can_be_opened_are_taken() {
    for doors in [
        String::new(),
        format!("[doors.kannel]\n[[doors.kannel.users]]\n{USER}"),
        format!(
            "[doors.kannel]\npath = \"/sms\"\n[[doors.kannel.users]]\n{USER}backends = [\"*\"]\nallow = [\"10.0.0.0/8\"]"
        ),
        format!(
            "[[doors.vumi.users]]\n{USER}conversation = \"a\"\n[[doors.vumi.users]]\n{USER}conversation = \"b\""
        ),
        format!("[doors.vumi]\npath = \"/v1x/send\"\n[[doors.vumi.users]]\n{USER}"),
        format!(
            "[doors.kannel]\n[[doors.kannel.users]]\n{USER}smsc = {{ \"usb0-modem\" = \"x\", \"Net.2\" = \"x\" }}"
        ),
        "[doors.callbacks]\nallow = [\"127.0.0.1\", \"fd00::/8\"]".to_owned(),
    ] {
        assert_eq!(problems(&doors), [""; 0], "{doors}");
    }
}

#[test]
fn every_mistake_is_named() {
    for (doors, expected) in [
        ("[doors.kannnel]", "line 5: doors.kannnel: unknown key; allowed here: callbacks, kannel, vumi"),
        ("[doors.kannel]", "line 5: doors.kannel.users: is missing: at least one [[doors.kannel.users]]"),
        (
            "[doors.kannel]\nport = 1\n[[doors.kannel.users]]\nUSER",
            "line 6: doors.kannel.port: unknown key; allowed here: path or users",
        ),
        (
            "[[doors.kannel.users]]\nname = \"u\"\nUSER",
            "line 6: doors.kannel.users[0].name: unknown key; allowed here: username, password,",
        ),
        (
            "[[doors.kannel.users]]\nusername = \"u\"\nbackend = \"x\"",
            "line 5: doors.kannel.users[0].password: is missing",
        ),
        (
            "[[doors.kannel.users]]\nusername = \"u\"\npassword = \"\"\nbackend = \"x\"",
            "line 7: doors.kannel.users[0].password: the secret is empty",
        ),
        (
            "[[doors.kannel.users]]\nUSER[[doors.kannel.users]]\nUSER",
            "line 10: doors.kannel.users[1].username: is another user's too",
        ),
        (
            "[[doors.kannel.users]]\nUSERallow = [\"10.0.0.1/8\"]",
            "line 9: doors.kannel.users[0].allow[0]: has bits beyond its mask",
        ),
        (
            "[[doors.kannel.users]]\nUSERallow = [\"here\"]",
            "line 9: doors.kannel.users[0].allow[0]: must be an address such as",
        ),
        (
            "[[doors.kannel.users]]\nUSERallow = []",
            "line 9: doors.kannel.users[0].allow: would let nobody in",
        ),
        (
            "[[doors.kannel.users]]\nUSERbackends = [\"z\"]",
            "line 9: doors.kannel.users[0].backends: unknown backend `z`; configured are: deaf, x",
        ),
        (
            "[[doors.kannel.users]]\nusername = \"u\"\npassword = \"p\"\nbackend = \"z\"",
            "line 8: doors.kannel.users[0].backend: unknown backend `z`",
        ),
        (
            "[[doors.kannel.users]]\nusername = \"u\"\npassword = \"p\"\nbackend = \"deaf\"",
            "line 8: doors.kannel.users[0].backend: the backend deaf only receives",
        ),
        (
            "[[doors.kannel.users]]\nUSERsmsc = { A = \"z\" }",
            "line 9: doors.kannel.users[0].smsc.A: unknown backend `z`; configured are: deaf, x",
        ),
        (
            "[[doors.kannel.users]]\nUSERsmsc = { \"usb0-modem\" = \"deaf\" }",
            "line 9: doors.kannel.users[0].smsc.usb0-modem: the backend deaf only receives",
        ),
        (
            "[[doors.kannel.users]]\nUSERsmsc = { \"\" = \"x\" }",
            "line 9: doors.kannel.users[0].smsc: a name is empty",
        ),
        (
            "[[doors.vumi.users]]\nUSERsmsc = { a = \"x\" }",
            "line 9: doors.vumi.users[0].smsc: only clients of doors.kannel",
        ),
        (
            "[[doors.kannel.users]]\nUSERconversation = \"c\"",
            "line 9: doors.kannel.users[0].conversation: only users of doors.vumi have conversations",
        ),
        (
            "[doors.kannel]\npath = \"sendsms\"\n[[doors.kannel.users]]\nUSER",
            "line 6: doors.kannel.path: must be a path such as",
        ),
        (
            "[doors.kannel]\npath = \"/{x}\"\n[[doors.kannel.users]]\nUSER",
            "line 6: doors.kannel.path: must be a path such as",
        ),
        (
            "[doors.kannel]\npath = \"/backends/x\"\n[[doors.kannel.users]]\nUSER",
            "line 6: doors.kannel.path: /backends is Postern's own",
        ),
        (
            "[doors.vumi]\npath = \"/v1/messages\"\n[[doors.vumi.users]]\nUSER",
            "line 6: doors.vumi.path: /v1 is Postern's own",
        ),
        (
            "[doors.vumi]\npath = \"/m\"\n[[doors.vumi.users]]\nUSERconversation = \"c\"",
            "line 11: doors.vumi.users[0].conversation: doors.vumi.path has no {conversation}",
        ),
        (
            "[[doors.vumi.users]]\nusername = \"a:b\"\npassword = \"p\"\nbackend = \"x\"",
            "line 6: doors.vumi.users[0].username: must have no colon",
        ),
        (
            "[doors.vumi]\npath = \"/cgi-bin/sendsms\"\n[[doors.vumi.users]]\nUSER[[doors.kannel.users]]\nUSER",
            "line 6: doors.vumi.path: is the path of doors.kannel, too",
        ),
        ("[doors.callbacks]\nallow = \"127.0.0.1\"", "line 6: doors.callbacks.allow: must be a list"),
        (
            "[doors.callbacks]\ntimeout = \"11m\"",
            "line 6: doors.callbacks.timeout: must be longer than 0 and at most 10m",
        ),
        ("[doors.callbacks]\nconcurrency = 0", "line 6: doors.callbacks.concurrency: must be 1 to 2000"),
    ] {
        let doors = doors.replace("USER", USER);
        let found = problems(&doors);
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{doors}\n{expected}\n{found:?}");
        assert!(!found.iter().any(|problem| problem.contains("hush")), "{found:?}");
    }
}

#[test]
fn an_smsc_leads_where_the_user_has_said() {
    let table = json!({"usb0-modem": "y", "Net.2": "z", "x": "y"});
    let user = |backends: &Value, smsc: &Value| -> DoorUser {
        let user =
            json!({"username": "u", "password": "p", "backend": "x", "backends": backends, "smsc": smsc});
        serde_json::from_value(user).unwrap()
    };
    let none = Value::Null;
    for (backends, smsc, named, backend) in [
        // Neither: as a Kannel whose connections are for everybody.
        (&none, &none, None, Some("x")),
        (&none, &none, Some("usb0-modem"), Some("x")),
        (&none, &none, Some("Net.2"), Some("x")),
        (&none, &none, Some("y"), Some("x")),
        // By the backends' names.
        (&json!(["y"]), &none, None, Some("x")),
        (&json!(["y"]), &none, Some("x"), Some("x")),
        (&json!(["y"]), &none, Some("y"), Some("y")),
        (&json!(["y"]), &none, Some("z"), None),
        (&json!(["y"]), &none, Some("usb0-modem"), None),
        (&json!([]), &none, Some("y"), None),
        (&json!(["*"]), &none, Some("z"), Some("z")),
        (&json!(["*"]), &none, Some("Net.2"), None),
        // By a table, which comes first.
        (&none, &table, None, Some("x")),
        (&none, &table, Some("usb0-modem"), Some("y")),
        (&none, &table, Some("Net.2"), Some("z")),
        (&none, &table, Some("net.2"), None),
        (&none, &table, Some("z"), None),
        (&none, &table, Some("x"), Some("y")),
        (&json!(["z"]), &table, Some("z"), Some("z")),
    ] {
        let routed = user(backends, smsc).route(named);
        let routed = routed.as_ref().map(|name| name.as_str());
        assert_eq!(routed, backend, "{backends} {smsc} {named:?}");
    }
}
