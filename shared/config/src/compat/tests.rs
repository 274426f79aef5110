//! Which compatibility listeners are valid, and the errors for the others.

use super::CompatUser;
use crate::{Config, ProviderRegistry};
use serde_json::{Value, json};

/// The problems of `compat` in a configuration with two backends; `deaf` only receives.
fn problems(compat: &str) -> Vec<String> {
    let text = format!("[backends.x]\ntype = \"console\"\n[backends.deaf]\ntype = \"http\"\n{compat}\n");
    match Config::parse("test", Some(&text), [], &ProviderRegistry::builtin()) {
        Ok(_) => Vec::new(),
        Err(invalid) => invalid.problems.iter().map(ToString::to_string).collect(),
    }
}

const USER: &str = "username = \"u\"\npassword = \"hush\"\nbackend = \"x\"\n";

#[test]
fn listeners_that_can_work_are_taken() {
    for compat in [
        String::new(),
        format!("[compat.kannel]\n[[compat.kannel.users]]\n{USER}"),
        format!(
            "[compat.kannel]\npath = \"/sms\"\n[[compat.kannel.users]]\n{USER}backends = [\"*\"]\nallow = [\"10.0.0.0/8\"]"
        ),
        format!(
            "[[compat.vumi.users]]\n{USER}conversation = \"a\"\n[[compat.vumi.users]]\n{USER}conversation = \"b\""
        ),
        format!("[compat.vumi]\npath = \"/v1x/send\"\n[[compat.vumi.users]]\n{USER}"),
        format!(
            "[compat.kannel]\n[[compat.kannel.users]]\n{USER}smsc = {{ \"usb0-modem\" = \"x\", \"Net.2\" = \"x\" }}"
        ),
        "[compat.callbacks]\nallow = [\"127.0.0.1\", \"fd00::/8\"]\nattempts = 1".to_owned(),
        format!("[compat.kannel]\n[[compat.kannel.users]]\n{USER}rate = \"100/s\""),
        format!("[compat.vumi]\n[[compat.vumi.users]]\n{USER}rate = \"5/min\""),
    ] {
        assert_eq!(problems(&compat), [""; 0], "{compat}");
    }
}

#[test]
fn every_mistake_is_named() {
    for (compat, expected) in [
        ("[compat.kannnel]", "line 5: compat.kannnel: unknown key; allowed here: callbacks, kannel, vumi"),
        ("[compat.kannel]", "line 5: compat.kannel.users: is missing: at least one [[compat.kannel.users]]"),
        (
            "[compat.kannel]\nport = 1\n[[compat.kannel.users]]\nUSER",
            "line 6: compat.kannel.port: unknown key; allowed here: path or users",
        ),
        (
            "[[compat.kannel.users]]\nname = \"u\"\nUSER",
            "line 6: compat.kannel.users[0].name: unknown key; allowed here: username, password,",
        ),
        (
            "[[compat.kannel.users]]\nusername = \"u\"\nbackend = \"x\"",
            "line 5: compat.kannel.users[0].password: is missing",
        ),
        (
            "[[compat.kannel.users]]\nusername = \"u\"\npassword = \"\"\nbackend = \"x\"",
            "line 7: compat.kannel.users[0].password: the secret is empty",
        ),
        (
            "[[compat.kannel.users]]\nUSER[[compat.kannel.users]]\nUSER",
            "line 10: compat.kannel.users[1].username: is also the name of another user",
        ),
        (
            "[[compat.kannel.users]]\nUSERallow = [\"10.0.0.1/8\"]",
            "line 9: compat.kannel.users[0].allow[0]: has bits beyond its mask",
        ),
        (
            "[[compat.kannel.users]]\nUSERallow = [\"here\"]",
            "line 9: compat.kannel.users[0].allow[0]: must be an address such as",
        ),
        (
            "[[compat.kannel.users]]\nUSERallow = []",
            "line 9: compat.kannel.users[0].allow: would allow nobody",
        ),
        (
            "[[compat.kannel.users]]\nUSERbackends = [\"z\"]",
            "line 9: compat.kannel.users[0].backends: unknown backend `z`; configured: deaf, x",
        ),
        (
            "[[compat.kannel.users]]\nusername = \"u\"\npassword = \"p\"\nbackend = \"z\"",
            "line 8: compat.kannel.users[0].backend: unknown backend `z`",
        ),
        (
            "[[compat.kannel.users]]\nusername = \"u\"\npassword = \"p\"\nbackend = \"deaf\"",
            "line 8: compat.kannel.users[0].backend: the backend deaf only receives",
        ),
        (
            "[[compat.kannel.users]]\nUSERsmsc = { A = \"z\" }",
            "line 9: compat.kannel.users[0].smsc.A: unknown backend `z`; configured: deaf, x",
        ),
        (
            "[[compat.kannel.users]]\nUSERsmsc = { \"usb0-modem\" = \"deaf\" }",
            "line 9: compat.kannel.users[0].smsc.usb0-modem: the backend deaf only receives",
        ),
        (
            "[[compat.kannel.users]]\nUSERsmsc = { \"\" = \"x\" }",
            "line 9: compat.kannel.users[0].smsc: a name must not be empty",
        ),
        (
            "[[compat.vumi.users]]\nUSERsmsc = { a = \"x\" }",
            "line 9: compat.vumi.users[0].smsc: only clients of compat.kannel",
        ),
        (
            "[[compat.kannel.users]]\nUSERconversation = \"c\"",
            "line 9: compat.kannel.users[0].conversation: only users of compat.vumi have conversations",
        ),
        (
            "[compat.kannel]\npath = \"sendsms\"\n[[compat.kannel.users]]\nUSER",
            "line 6: compat.kannel.path: must be a path such as",
        ),
        (
            "[compat.kannel]\npath = \"/{x}\"\n[[compat.kannel.users]]\nUSER",
            "line 6: compat.kannel.path: must be a path such as",
        ),
        (
            "[compat.kannel]\npath = \"/backends/x\"\n[[compat.kannel.users]]\nUSER",
            "line 6: compat.kannel.path: /backends is reserved for Postern",
        ),
        (
            "[compat.vumi]\npath = \"/v1/messages\"\n[[compat.vumi.users]]\nUSER",
            "line 6: compat.vumi.path: /v1 is reserved for Postern",
        ),
        (
            "[compat.vumi]\npath = \"/m\"\n[[compat.vumi.users]]\nUSERconversation = \"c\"",
            "line 11: compat.vumi.users[0].conversation: has no effect: compat.vumi.path does not contain {conversation}",
        ),
        (
            "[[compat.vumi.users]]\nusername = \"a:b\"\npassword = \"p\"\nbackend = \"x\"",
            "line 6: compat.vumi.users[0].username: must have no colon",
        ),
        (
            "[compat.vumi]\npath = \"/cgi-bin/sendsms\"\n[[compat.vumi.users]]\nUSER[[compat.kannel.users]]\nUSER",
            "line 6: compat.vumi.path: is also the path of compat.kannel",
        ),
        ("[compat.callbacks]\nallow = \"127.0.0.1\"", "line 6: compat.callbacks.allow: must be a list"),
        (
            "[compat.callbacks]\ntimeout = \"11m\"",
            "line 6: compat.callbacks.timeout: must be longer than 0 and at most 10m",
        ),
        ("[compat.callbacks]\nconcurrency = 0", "line 6: compat.callbacks.concurrency: must be 1 to 2000"),
        ("[compat.callbacks]\nattempts = 0", "line 6: compat.callbacks.attempts: must be 1 to 10"),
        ("[compat.callbacks]\nattempts = 11", "line 6: compat.callbacks.attempts: must be 1 to 10"),
        (
            "[compat.kannel]\n[[compat.kannel.users]]\nUSERrate = \"100\"",
            "line 10: compat.kannel.users[0].rate: ",
        ),
    ] {
        let compat = compat.replace("USER", USER);
        let found = problems(&compat);
        assert!(found.iter().any(|problem| problem.starts_with(expected)), "{compat}\n{expected}\n{found:?}");
        assert!(!found.iter().any(|problem| problem.contains("hush")), "{found:?}");
    }
}

#[test]
fn an_smsc_leads_where_the_user_has_said() {
    let table = json!({"usb0-modem": "y", "Net.2": "z", "x": "y"});
    let user = |backends: &Value, smsc: &Value| -> CompatUser {
        let user =
            json!({"username": "u", "password": "p", "backend": "x", "backends": backends, "smsc": smsc});
        serde_json::from_value(user).unwrap()
    };
    let none = Value::Null;
    for (backends, smsc, named, backend) in [
        // A user with neither, as in a Kannel whose connections are for everybody.
        (&none, &none, None, Some("x")),
        (&none, &none, Some("usb0-modem"), Some("x")),
        (&none, &none, Some("Net.2"), Some("x")),
        (&none, &none, Some("y"), Some("x")),
        // A user with `backends`: by the backends' names.
        (&json!(["y"]), &none, None, Some("x")),
        (&json!(["y"]), &none, Some("x"), Some("x")),
        (&json!(["y"]), &none, Some("y"), Some("y")),
        (&json!(["y"]), &none, Some("z"), None),
        (&json!(["y"]), &none, Some("usb0-modem"), None),
        (&json!([]), &none, Some("y"), None),
        (&json!(["*"]), &none, Some("z"), Some("z")),
        (&json!(["*"]), &none, Some("Net.2"), None),
        // A user with a table `smsc`, which comes first.
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
