//! Templates that would send nothing, or not what was meant.

use super::{Mistake, assert_named, assert_warned};

const ERRORS: &[Mistake] = &[
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/\"\nform = { to = \"{{ identity }}\", text = \"{{ settings.msg }}\" }",
        "backends.a.send.form.text",
        Some(5),
        "the backend has no setting msg: set it in [backends.a.settings]",
    ),
    (
        "[backends.a]\ntype = \"http\"\nsettings = { sender = \"s\" }\n[backends.a.send]\nurl = \"http://h/\"\nquery = { to = \"{{ identity }}\", text = \"{{ text }}\", from = \"{{ settings['sendr'] }}{{ settings.sender }}\" }",
        "backends.a.send.query.from",
        Some(6),
        "did you mean sender?",
    ),
    (
        "[backends.a]\ntype = \"http\"\nsettings = { p = { user = \"u\" } }\n[backends.a.send]\nurl = \"http://h/\"\njson = { to = [\"{{ identity }}\"], deep = { t = \"{{ text }}\", u = \"{{ settings.p.user }}{{ settings.p.pass }}\" } }",
        "backends.a.send.json.deep.u",
        Some(6),
        "no setting p.pass",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"{{ settings.api }}/{{ identity }}?t={{ text }}\"",
        "backends.a.send.url",
        Some(4),
        "no setting api",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/{{ identity }}?t={{ text }}\"\nheaders = { X-Key = \"k {{ settings.key }}\" }",
        "backends.a.send.headers.x-key",
        Some(5),
        "no setting key",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/{{ identity }}?t={{ text }}\"\nauth = { bearer = \"{{ settings.token }}\" }",
        "backends.a.send.auth.bearer",
        Some(5),
        "no setting token",
    ),
    (
        "[backends.a]\ntype = \"http\"\nsettings = { token = \"t\" }\n[backends.a.send]\nurl = \"http://h/{{ identity }}?t={{ text }}\"\nauth = { bearer = \"x-{{ settings.token }}\" }",
        "backends.a.send.auth.bearer",
        Some(6),
        "is not a template",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.receive]\nauth = { token = { secret = \"x{{ id }}\", query = \"t\" } }",
        "backends.a.receive.auth",
        Some(4),
        "is not a template",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/{{ identity }}\"\nform = { t = \"{{ text | uper }}\" }",
        "backends.a.send.form.t",
        Some(5),
        "did you mean upper?",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/{{ identity }}\"\nform = { t = \"{text}\" }",
        "backends.a.send.form.t",
        Some(5),
        "write {{ text }}",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/{{ identity }}\"\nform = { t = \"{{ encoded.text }}\" }",
        "backends.a.send.form.t",
        Some(5),
        "without backends.a.send.codec",
    ),
    (
        "[backends.a]\ntype = \"http\"\nstatus = { states = { 1 = \"sent\" } }\n[backends.a.send]\nurl = \"http://h/{{ identity }}?t={{ text }}\"\nform = { cb = \"{{ status_url }}?id={{ id }}\" }",
        "backends.a.send.form.cb",
        Some(6),
        "without ingress.public_url",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/?t={{ text }}\"\nrecipients = \"list\"\njson = { to = \"{{ identity }}\" }",
        "backends.a.send",
        Some(3),
        "use {{ identities }}",
    ),
    (
        "[application]\ntype = \"webhook\"\nformat = \"form\"\nurl = \"http://h/{backend}\"",
        "application.url",
        Some(4),
        "write {{ backend }}",
    ),
];

/// Checks that would refuse every message.
const CHECKS: &[Mistake] = &[
    (
        "[backends.a]\ntype = \"http\"\n[[backends.a.receive.checks]]\nexpr = 'fields.type == \"sms\"'\nerror = \"no\"",
        "backends.a.receive.checks[0].expr",
        Some(4),
        "declare type in receive.fields",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive.fields.kind = {}\n[[backends.a.receive.checks]]\nexpr = 'has(fields.kind)'\nerror = \"no\"\n[[backends.a.receive.checks]]\nexpr = 'fields[\"knd\"] == \"sms\"'\nerror = \"no\"",
        "backends.a.receive.checks[1].expr",
        Some(8),
        "did you mean kind?",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[[backends.a.receive.checks]]\nexpr = 'fields.text != \"\"'\nerror = \"no\"",
        "backends.a.receive.checks[0].expr",
        Some(4),
        "write text",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[[backends.a.receive.checks]]\nexpr = 'text.startWith(\"a\")'\nerror = \"no\"",
        "backends.a.receive.checks[0].expr",
        Some(4),
        "did you mean startsWith?",
    ),
];

const WARNINGS: &[Mistake] = &[
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/\"\nform = { to = \"{{ identity }}\" }",
        "backends.a.send",
        Some(3),
        "no template in it uses {{ text }}",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/?t={{ text }}\"",
        "backends.a.send",
        Some(3),
        "uses {{ identity }}",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/\"",
        "backends.a.send",
        Some(3),
        "every request is the same",
    ),
    (
        "[backends.a]\ntype = \"http\"\nstatus = { states = { 1 = \"sent\" } }\n[backends.a.send]\nurl = \"http://h/{{ identity }}?t={{ text }}\"\nform = { cb = \"{{ status_url }}\" }",
        "backends.a.send.form.cb",
        Some(6),
        "without ingress.public_url",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/{{ identity }}?t={{ text }}\"\nform = { cb = \"{{ status_url }}\" }",
        "backends.a.send.form.cb",
        Some(5),
        "[backends.a.status]",
    ),
    (
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/{{ identity }}?t={{ text }}&f={{ context.from or settings.sender }}\"",
        "backends.a.send.url",
        Some(4),
        "no setting sender",
    ),
    (
        "[backends.a]\ntype = \"vumi\"\n[backends.a.settings]\nsendsms_url = \"http://h/\"\nsendsms_usr = \"u\"",
        "backends.a.settings.sendsms_usr",
        Some(5),
        "did you mean sendsms_user?",
    ),
    (
        "[backends.a]\ntype = \"console\"\nsettings = { shwo = true }",
        "backends.a.settings.shwo",
        Some(3),
        "did you mean show?",
    ),
    (
        "[backends.a]\ntype = \"kannel\"\n[backends.a.settings]\nsendsms_params = { username = \"u\", from = \"{{ context.from }}\" }",
        "backends.a.settings.sendsms_params",
        Some(4),
        "is not a template",
    ),
];

#[test]
fn a_template_that_can_send_nothing_good_is_a_mistake() {
    assert_named(ERRORS);
    assert_named(CHECKS);
}

#[test]
fn a_template_that_leaves_something_out_is_warned_of() {
    assert_warned(WARNINGS);
}

/// Every built-in type with its settings, and templates that handle absent values.
#[test]
fn what_templates_can_do_without_is_not_warned_of() {
    for text in [
        "[backends.a]\ntype = \"kannel\"\nsettings = { sendsms_params = { username = \"u\" }, charset = \"UTF-8\", coding = 0, delivery_report_url = \"http://h\" }",
        "[backends.a]\ntype = \"vumi\"\nsettings = { sendsms_url = \"http://h/\" }",
        "[backends.a]\ntype = \"console\"\nsettings = { show = true, t = \"x\", r = \"y\" }\nreceive = { when = 'query.t == settings.t', challenge = { when = 'has(query.c)', reply = '{{ settings.r }}' } }",
        "[backends.a]\ntype = \"africastalking\"\nsettings = { username = \"u\", api_key = \"k\" }",
        "[backends.a]\ntype = \"twilio\"\nreceive = { auth = \"none\" }\nsettings = { account_sid = \"a\", auth_token = \"b\", messaging_service_sid = \"c\" }",
        "[backends.a]\ntype = \"http\"\n[backends.a.send]\nurl = \"http://h/\"\njson = { to = \"{{ context.chat }}\", body = \"{{ context.template }}\" }",
        "[backends.a]\ntype = \"http\"\nsettings = { f = \"s\" }\n[backends.a.send]\nurl = \"http://h/{{ identity }}/{{ text }}\"\nform = { a = \"{{ context.any.thing }}\", f = \"{{ settings.f }}\" }",
    ] {
        let warnings = super::parse(&format!("[application]\ntype = \"echo\"\n{text}")).unwrap().warnings;
        assert_eq!(warnings, [], "{text}");
    }
}
