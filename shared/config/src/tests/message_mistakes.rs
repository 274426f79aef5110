//! Like `backend_mistakes`, about answers, media and numbers.

use super::{Mistake, assert_named};

const MISTAKES: &[Mistake] = &[
    (
        "[backends.a]\ntype = \"http\"\nsend = { url = \"http://h/\", form = { to = \"{{ identity }}\", text = \"{{ text }}\" }, results = { identity = \"/to\" } }",
        "backends.a.send.results.each",
        Some(3),
        "missing",
    ),
    (
        "[backends.a]\ntype = \"http\"\nsend = { url = \"http://h/\", form = { to = \"{{ identity }}\", text = \"{{ text }}\" }, results = { each = \"/results\", identity = \"to\" } }",
        "backends.a.send.results.identity",
        Some(3),
        "JSON pointer",
    ),
    (
        "[backends.a]\ntype = \"http\"\nsend = { url = \"http://h/\", form = { to = \"{{ identity }}\", text = \"{{ text }}\" }, results = { each = \"results\" } }",
        "backends.a.send.results.each",
        Some(3),
        "must begin with /",
    ),
    (
        "[backends.a]\ntype = \"http\"\nsend = { url = \"http://h/\", form = { to = \"{{ identity }}\", text = \"{{ text }}\" }, results = { each = \"/results\", success = { at = \"/ok\" } } }",
        "backends.a.send.results.success.is",
        Some(3),
        "missing",
    ),
    (
        "[backends.a]\ntype = \"http\"\nsend = { url = \"http://h/\", form = { to = \"{{ identity }}\", text = \"{{ text }}\" }, results = { each = \"/results\", sucess = { at = \"/ok\", is = \"1\" } } }",
        "backends.a.send.results.sucess",
        Some(3),
        "success",
    ),
    (
        "[backends.a]\ntype = \"http\"\nsend = { url = \"http://h/\", form = { to = \"{{ identity }}\", text = \"{{ text }}\" }, results = { each = \"/results\", failures = [{ at = \"/ok\", is = \"1\", class = \"fatal\" }] } }",
        "backends.a.send.results.failures[0].class",
        Some(3),
        "transient",
    ),
    (
        "[backends.a]\ntype = \"http\"\nsend = { url = \"http://h/\", form = { to = \"{{ identity }}\", text = \"{{ text }}\" }, retry_after = \"seconds\" }",
        "backends.a.send.retry_after",
        Some(3),
        "JSON pointer",
    ),
    (
        "[backends.a]\ntype = \"http\"\nregion = \"Kenya\"",
        "backends.a.region",
        Some(3),
        "unknown region; use an ISO 3166 code of two letters",
    ),
    (
        "[backends.a]\ntype = \"telegram\"\nregion = \"KE\"\nsettings = { bot_token = \"1:hush-token-of-the-bot\", secret_token = \"hush-token-of-the-bot\" }",
        "backends.a.region",
        Some(3),
        "send.identity does not accept them",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { media = [{ type = \"kind\" }] }",
        "backends.a.receive.media[0].url",
        Some(3),
        "set url (where a media",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { media = [{ url = \"\" }] }",
        "backends.a.receive.media[0].url",
        Some(3),
        "must name a parameter",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { media = [{ url = \"u\", kind = \"k\" }] }",
        "backends.a.receive.media[0].kind",
        Some(3),
        "each, url, id, type, name",
    ),
    (
        "[backends.a]\ntype = \"http\"\nreceive = { media = [{ url = \"u\" }], fields = { media = {} } }",
        "backends.a.receive.fields.media",
        Some(3),
        "receive.media sets this field",
    ),
    (
        "[backends.a]\ntype = \"http\"\ntext = { media = \"attach\" }\nsend = { url = \"http://h/\", form = { to = \"{{ identity }}\", text = \"{{ text }}\" } }",
        "backends.a.text.media",
        Some(3),
        "append",
    ),
    (
        "[backends.a]\ntype = \"http\"\ntext = { media = \"send\" }\nsend = { url = \"http://h/\", form = { to = \"{{ identity }}\", text = \"{{ text }}\" } }",
        "backends.a.text.media",
        Some(3),
        "{{ media }}",
    ),
    (
        "[backends.a]\ntype = \"http\"\nstatus = { state = \"gone\", states = { a = \"sent\" } }",
        "backends.a.status.state",
        Some(3),
        "delivered",
    ),
    (
        "[backends.a]\ntype = \"http\"\nstatus = { params = { external_id = \"\" }, state = \"sent\" }",
        "backends.a.status.params.external_id",
        Some(3),
        "must name a parameter",
    ),
    (
        "[backends.a]\ntype = \"http\"\nbase = \"twilio\"",
        "backends.a.base",
        Some(3),
        "to build on another type",
    ),
];

#[test]
fn every_mistake_names_its_key_its_line_and_what_is_allowed() {
    assert_named(MISTAKES);
}
