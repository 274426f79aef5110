//! Sending over HTTP, row by row: a message and a backend's table in, the exact request out.

use crate::reports::outcome;
use postern_tests::{Answer, Launch, Provider, Rabbit, Request};
use serde_json::{Value, json};
use std::{collections::BTreeMap, time::Duration};

/// A backend's `send`, a message, the provider's answer, and the expected result.
struct Row {
    name: &'static str,
    /// `[backends.<name>.send]` without the URL, which is the provider's `/<name>`.
    send: &'static str,
    identities: &'static [&'static str],
    text: &'static str,
    answer: Answer,
    /// The requests, as [`told`] renders them.
    asked: &'static [&'static str],
    /// The state, external id and reason class of each identity in the report.
    report: Value,
}

fn row(name: &'static str, send: &'static str, asked: &'static [&'static str]) -> Row {
    let report = json!([["sent", null, null]]);
    Row { name, send, identities: &["+1555"], text: "hi é&=?", answer: Answer::ok(""), asked, report }
}

const FORM: &str = "form = { to = \"{{ identity }}\", text = \"{{ text }}\" }";

/// Method and path, the headers that a backend determines, the decoded query, the decoded body.
fn told(request: &Request) -> String {
    let mut lines = vec![format!("{} {}", request.method, request.path)];
    let kind = request.header("content-type").unwrap_or_default();
    for (name, value) in &request.headers {
        if name == "content-type" || name == "authorization" || name.starts_with("x-") {
            lines.push(format!("{name}: {value}"));
        }
    }
    lines.extend(request.query().iter().map(|(key, value)| format!("?{key}={value}")));
    if kind.starts_with("application/x-www-form-urlencoded") {
        lines.extend(request.form().iter().map(|(key, value)| format!("{key}={value}")));
    } else if !request.body.is_empty() {
        lines.push(request.text());
    }
    lines.join("\n")
}

fn rows() -> Vec<Row> {
    vec![
        row(
            "form",
            FORM,
            &["POST /form\ncontent-type: application/x-www-form-urlencoded\nto=+1555\ntext=hi é&=?"],
        ),
        row(
            "query",
            "method = \"GET\"\nquery = { to = \"{{ identity }}\", text = \"{{ text }}\", lit = \"a b\" }",
            &["GET /query\n?to=+1555\n?text=hi é&=?\n?lit=a b"],
        ),
        row(
            "json",
            "json = { to = [\"{{ identity }}\"], n = 1, deep = { text = \"{{ text }}\", yes = true } }",
            &[
                "POST /json\ncontent-type: application/json\n{\"to\":[\"+1555\"],\"n\":1,\"deep\":{\"text\":\"hi é&=?\",\"yes\":true}}",
            ],
        ),
        row(
            "put",
            "method = \"PUT\"\njson = { text = \"{{ text }}\" }",
            &["PUT /put\ncontent-type: application/json\n{\"text\":\"hi é&=?\"}"],
        ),
        row(
            "basic",
            "auth = { basic = { username = \"u\", password = \"p:w\" } }\nform = { t = \"x\" }",
            &[
                "POST /basic\ncontent-type: application/x-www-form-urlencoded\nauthorization: Basic dTpwOnc=\nt=x",
            ],
        ),
        row(
            "bearer",
            "auth = { bearer = \"tok\" }\nform = { t = \"x\" }\nheaders = { X-From = \"{{ backend }}\" }",
            &[
                "POST /bearer\nx-from: bearer\ncontent-type: application/x-www-form-urlencoded\nauthorization: Bearer tok\nt=x",
            ],
        ),
        Row {
            identities: &["+1", "+2", "+3"],
            report: json!([["sent", null, null], ["sent", null, null], ["sent", null, null]]),
            ..row(
                "joined",
                "recipients = \"joined\"\nbatch = 2\nseparator = \" \"\nform = { to = \"{{ identities }}\" }",
                &[
                    "POST /joined\ncontent-type: application/x-www-form-urlencoded\nto=+1 +2",
                    "POST /joined\ncontent-type: application/x-www-form-urlencoded\nto=+3",
                ],
            )
        },
        Row {
            identities: &["+1", "+2"],
            report: json!([["sent", null, null], ["sent", null, null]]),
            ..row(
                "list",
                "recipients = \"list\"\njson = { to = \"{{ identities }}\", text = \"{{ text }}\" }",
                &[
                    "POST /list\ncontent-type: application/json\n{\"to\":[\"+1\",\"+2\"],\"text\":\"hi é&=?\"}",
                ],
            )
        },
        Row {
            identities: &["+1", "+2"],
            report: json!([["sent", null, null], ["sent", null, null]]),
            ..row(
                "repeated",
                "method = \"GET\"\nrecipients = \"list\"\nquery = { to = \"{{ identities }}\" }",
                &["GET /repeated\n?to=+1\n?to=+2"],
            )
        },
        Row {
            text: "a&to=evil#\"}, {\r\nX: y",
            ..row(
                "break-out",
                FORM,
                &[
                    "POST /break-out\ncontent-type: application/x-www-form-urlencoded\nto=+1555\ntext=a&to=evil#\"}, {\r\nX: y",
                ],
            )
        },
        Row {
            text: "\", \"to\": \"evil\\",
            ..row(
                "break-out-json",
                "json = { text = \"{{ text }}\" }",
                &[
                    "POST /break-out-json\ncontent-type: application/json\n{\"text\":\"\\\", \\\"to\\\": \\\"evil\\\\\"}",
                ],
            )
        },
        Row {
            text: "{{ settings.secret }}{% for x in y %}",
            ..row(
                "no-template-in-text",
                "form = { t = \"{{ text }}\" }",
                &[
                    "POST /no-template-in-text\ncontent-type: application/x-www-form-urlencoded\nt={{ settings.secret }}{% for x in y %}",
                ],
            )
        },
        row(
            "absent",
            "json = { to = \"{{ identity }}\", from = \"{{ context.from }}\" }",
            &["POST /absent\ncontent-type: application/json\n{\"to\":\"+1555\"}"],
        ),
        Row {
            answer: Answer::ok("{\"messages\": [{\"id\": 17}]}"),
            report: json!([["sent", "17", null]]),
            ..row(
                "pointer",
                "external_id = \"/messages/0/id\"\nform = { t = \"x\" }",
                &["POST /pointer\ncontent-type: application/x-www-form-urlencoded\nt=x"],
            )
        },
        Row {
            answer: Answer::status(202).body("Success \"abc-1\"\n"),
            report: json!([["sent", "abc-1", null]]),
            ..row(
                "regex",
                "external_id = 'Success \"(.*)\"'\nform = { t = \"x\" }",
                &["POST /regex\ncontent-type: application/x-www-form-urlencoded\nt=x"],
            )
        },
        Row {
            answer: Answer::ok("ERR 12"),
            report: json!([["failed", null, "transient"]]),
            ..row(
                "success-body",
                "success = { status = [\"200\"], body = \"^OK\" }\nform = { t = \"x\" }",
                &["POST /success-body\ncontent-type: application/x-www-form-urlencoded\nt=x"],
            )
        },
        Row {
            answer: Answer::status(302).header("Location", "/elsewhere"),
            report: json!([["failed", null, "config"]]),
            ..row(
                "redirect",
                "form = { t = \"x\" }",
                &["POST /redirect\ncontent-type: application/x-www-form-urlencoded\nt=x"],
            )
        },
        Row {
            answer: Answer::ok("").after(Duration::from_secs(20)),
            report: json!([["unknown", null, "unknown"]]),
            ..row(
                "timeout",
                "timeout = \"500ms\"\nunanswered = \"fail\"\nform = { t = \"x\" }",
                &["POST /timeout\ncontent-type: application/x-www-form-urlencoded\nt=x"],
            )
        },
    ]
}

/// Sorts the headers, because their order on the wire does not matter.
fn normal(told: &str) -> String {
    let header = |line: &&str| line.contains(": ") && !line.starts_with('{') && !line.contains('=');
    let mut headers: Vec<_> = told.lines().filter(header).collect();
    headers.sort_unstable();
    let rest: Vec<_> = told.lines().filter(|line| !header(line)).collect();
    format!("{}\n{}", headers.join("\n"), rest.join("\n"))
}

#[tokio::test]
async fn each_message_becomes_the_exact_request() {
    let provider = Provider::start().await;
    let rows = rows();
    let answers: BTreeMap<_, _> =
        rows.iter().map(|row| (format!("/{}", row.name), row.answer.clone())).collect();
    provider.otherwise(move |request| answers.get(&request.path).cloned().unwrap_or(Answer::status(404)));
    let mut config = "[retry]\ndelays = []\n".to_owned();
    for row in &rows {
        let url = provider.url(&format!("/{}", row.name));
        config += &format!(
            "[backends.{0}]\ntype = \"http\"\n[backends.{0}.send]\nurl = \"{url}\"\n{1}\n",
            row.name, row.send
        );
    }
    let vhost = Rabbit::shared().vhost();
    let dispatcher = Launch::dispatcher(&vhost.config(&config)).start().await;
    let tap = vhost.tap().await;
    for row in &rows {
        tap.send(&json!({"backend": row.name, "identities": row.identities, "text": row.text})).await;
    }
    let mut reports = BTreeMap::new();
    while reports.len() < rows.len() {
        let report = outcome(&tap).await;
        let recipients = report["recipients"].as_array().unwrap().iter();
        let brief: Vec<_> =
            recipients.map(|r| json!([r["state"], r["external_id"], r["reason"]["class"]])).collect();
        reports.insert(report["backend"].as_str().unwrap().to_owned(), json!(brief));
    }
    let requests = provider.requests();
    for row in &rows {
        let path = format!("/{}", row.name);
        let mut asked: Vec<_> =
            requests.iter().filter(|r| r.path == path).map(|r| normal(&told(r))).collect();
        asked.sort();
        let mut wanted: Vec<_> = row.asked.iter().map(|text| normal(text)).collect();
        wanted.sort();
        assert_eq!(asked, wanted, "{}", row.name);
        assert_eq!(reports[row.name], row.report, "{}", row.name);
    }
    assert!(!requests.iter().any(|request| request.path == "/elsewhere"), "a redirect was followed");
    dispatcher.ends_silent(&["+1555", "hi é", "p:w", "dTpwOnc=", "tok\""]).await;
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let provider = Provider::start().await;
    provider.script([Answer::endless(Duration::ZERO)]);
    let vhost = Rabbit::shared().vhost();
    let config = format!(
        "[retry]\ndelays = []\n[backends.x]\ntype = \"http\"\n[backends.x.send]\nurl = \"{}\"\ntimeout = \"20s\"\n\
         not_accepted = \"fail\"\nsuccess = {{ body = \"^OK\" }}\nform = {{ t = \"x\" }}\n",
        provider.url("/")
    );
    let dispatcher = Launch::dispatcher(&vhost.config(&config)).start().await;
    let tap = vhost.tap().await;
    tap.send(&json!({"backend": "x", "identities": ["+1555"], "text": "hi"})).await;
    // An answer that was read until the timeout would be one that is cut off, whose outcome nobody knows.
    let report = outcome(&tap).await;
    let only = &report["recipients"][0];
    assert_eq!(
        (&only["state"], &only["reason"]["code"]),
        (&json!("failed"), &json!("not_accepted")),
        "{report}"
    );
    let memory = postern_tests::usage::memory(dispatcher.id()).peak;
    assert!(memory < 200_000_000, "it held {memory} bytes");
}
