//! A message and a send table in, the exact request out.

use crate::{
    provider::{Provider, Received, answer},
    setup::demo,
};
use postern_dispatcher::connectors::{
    Backend, Outcomes,
    http::{ClientTls, Http},
};
use postern_shared::message::{Context, Identity};
use serde_json::json;

const ID: &str = "0199b2a5-0000-7000-8000-000000000001";

async fn sent(
    table: &str,
    identities: &[&str],
    text: &str,
    context: serde_json::Value,
) -> (Vec<Received>, Outcomes) {
    let provider = Provider::answering(answer(200, "")).await;
    let table = table.replace("URL", &provider.url);
    let http = Http::new(&demo(&table), &ClientTls::default()).unwrap();
    let identities: Vec<Identity> = identities.iter().map(|identity| identity.parse().unwrap()).collect();
    let context: Context = serde_json::from_value(context).unwrap();
    let size = http.recipients_per_request().unwrap();
    let mut outcomes = Vec::new();
    for some in identities.chunks(size) {
        let answers = http.send(ID.parse().unwrap(), text, some, &context).await;
        outcomes.extend(answers.into_each(some.len()));
    }
    (provider.received(), outcomes.into_iter().collect())
}

struct Row {
    table: &'static str,
    identities: &'static [&'static str],
    text: &'static str,
    context: serde_json::Value,
    /// The request line without the version, and the body.
    requests: &'static [(&'static str, &'static str)],
    headers: &'static [(&'static str, &'static str)],
}

fn rows() -> Vec<Row> {
    const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
    const JSON: (&str, &str) = ("content-type", "application/json");
    let row = |table, identities, text, context, requests, headers| Row {
        table,
        identities,
        text,
        context,
        requests,
        headers,
    };
    vec![
        row(
            "url = \"URL/send\"\nform = { to = \"{{ identity }}\", text = \"{{ text }}\" }\nheaders = { X-Message-Id = \"{{ id }}\" }\nauth = { basic = { username = \"u\", password = \"p\" } }",
            &["+1555"],
            "pong",
            json!({}),
            &[("POST /send", "to=%2B1555&text=pong")],
            &[FORM, ("x-message-id", ID), ("authorization", "Basic dTpw"), ("content-length", "20")],
        ),
        // A value stays in its parameter, regardless of its characters.
        row(
            "url = \"URL/{{ context.path }}/x?k={{ text }}\"\nmethod = \"GET\"\nquery = { to = \"{{ identity }}\", text = \"{{ text }}\" }\nheaders = { X-Text = \"{{ text }}\" }",
            &["1&admin=1"],
            "a&b=c#d\r\nHost: evil é😀%41+",
            json!({"path": "../..?x=/"}),
            &[(
                "GET /..%2F..%3Fx%3D%2F/x?k=a%26b%3Dc%23d%0D%0AHost:%20evil%20%C3%A9%F0%9F%98%80%2541%2B&to=1%26admin%3D1&text=a%26b%3Dc%23d%0D%0AHost%3A+evil+%C3%A9%F0%9F%98%80%2541%2B",
                "",
            )],
            &[("x-text", "a&b=c#d  Host: evil é😀%41+")],
        ),
        row(
            "url = \"URL/send\"\nform = { text = \"{{ text }}\" }",
            &["1"],
            "a&to=2\n\u{1F600}=%",
            json!({}),
            &[("POST /send", "text=a%26to%3D2%0A%F0%9F%98%80%3D%25")],
            &[FORM],
        ),
        row(
            "url = \"URL/send\"\njson = { text = \"{{ text }}\", note = \"re: {{ text }}\" }",
            &["1"],
            "\"},{\"x\":\"\u{7}é",
            json!({}),
            &[("POST /send", r#"{"text":"\"},{\"x\":\"\u0007é","note":"re: \"},{\"x\":\"\u0007é"}"#)],
            &[JSON],
        ),
        // A template that is only a name keeps the type of its value. A missing value leaves its key out.
        row(
            "url = \"URL/m\"\nmethod = \"PUT\"\njson = { n = \"{{ context.n }}\", flag = \"{{ context.flag }}\", from = \"{{ context.from }}\", deep = { reply = \"{{ context.reply_to }}\", list = [\"{{ identity }}\", 1, \"{{ context.none }}\"] }, on = true }",
            &["1"],
            "x",
            json!({"n": 3, "flag": false, "none": null, "reply_to": {"id": [1.5]}}),
            &[("PUT /m", r#"{"n":3,"flag":false,"deep":{"reply":{"id":[1.5]},"list":["1",1]},"on":true}"#)],
            &[JSON],
        ),
        row(
            "url = \"URL/m\"\nmethod = \"GET\"\nquery = { from = \"{{ context.from }}\", tag = \"{{ context.tags }}\", to = \"{{ identity }}\" }\nheaders = { X-From = \"{{ context.from }}\" }",
            &["1"],
            "x",
            json!({"tags": ["a b", 2]}),
            &[("GET /m?tag=a+b&tag=2&to=1", "")],
            &[],
        ),
        row(
            "url = \"URL\"\nmethod = \"GET\"\nquery = { x = \"{{ context.x }}\" }",
            &["1"],
            "x",
            json!({}),
            &[("GET /", "")],
            &[],
        ),
        // Several recipients.
        row(
            "url = \"URL/s\"\nform = { to = \"{{ identity }}\" }\nauth = { bearer = \"token\" }",
            &["1", "2", "1"],
            "x",
            json!({}),
            &[("POST /s", "to=1"), ("POST /s", "to=2"), ("POST /s", "to=1")],
            &[("authorization", "Bearer token")],
        ),
        row(
            "url = \"URL/s\"\nrecipients = \"joined\"\nseparator = \" \"\nbatch = 2\nform = { to = \"{{ identities }}\", one = \"{{ identity }}\", own = \"{{ identities | join(';') }}\", n = \"{% for i in identities %}<{{ i }}>{% endfor %}\" }",
            &["1", "2", "3"],
            "x",
            json!({}),
            &[
                ("POST /s", "to=1+2&one=1+2&own=1%3B2&n=%3C1%3E%3C2%3E"),
                ("POST /s", "to=3&one=3&own=3&n=%3C3%3E"),
            ],
            &[FORM],
        ),
        row(
            "url = \"URL/{{ identities }}\"\nrecipients = \"joined\"\njson = { to = \"{{ identities }}\" }",
            &["1", "2"],
            "x",
            json!({}),
            &[("POST /1%2C2", r#"{"to":"1,2"}"#)],
            &[JSON],
        ),
        row(
            "url = \"URL/s\"\nrecipients = \"list\"\nbatch = 2\njson = { to = \"{{ identities }}\", one = \"{{ identity }}\", first = \"{{ identities[0] }}\" }",
            &["1", "2", "3"],
            "x",
            json!({}),
            &[
                ("POST /s", r#"{"to":["1","2"],"first":"1"}"#),
                ("POST /s", r#"{"to":["3"],"one":"3","first":"3"}"#),
            ],
            &[JSON],
        ),
        row(
            "url = \"URL/s\"\nrecipients = \"list\"\nform = { to = \"{{ identities }}\" }\nheaders = { Content-Type = \"application/x-www-form-urlencoded; charset=utf-8\" }",
            &["1", "2"],
            "x",
            json!({}),
            &[("POST /s", "to=1&to=2")],
            &[("content-type", "application/x-www-form-urlencoded; charset=utf-8")],
        ),
        // The backend's name and settings, at any depth.
        row(
            "url = \"{{ settings.api_url }}/{{ settings.account.sid }}/{{ backend }}\"\njson = { key = \"{{ settings.account }}\" }\n[backends.demo.settings]\napi_url = \"URL/v1\"\naccount = { sid = \"a/b\" }",
            &["1"],
            "x",
            json!({}),
            &[("POST /v1/a%2Fb/demo", r#"{"key":{"sid":"a/b"}}"#)],
            &[],
        ),
    ]
}

#[tokio::test]
async fn every_row_makes_its_exact_requests() {
    for row in rows() {
        let (received, outcomes) = sent(row.table, row.identities, row.text, row.context).await;
        let outcomes = outcomes.into_each(row.identities.len());
        assert!(outcomes.iter().all(Result::is_ok), "{}: {outcomes:?}", row.table);
        let expected: Vec<_> =
            row.requests.iter().map(|(line, body)| (format!("{line} HTTP/1.1"), *body)).collect();
        let got: Vec<_> =
            received.iter().map(|request| (request.line.clone(), request.body.as_str())).collect();
        assert_eq!(got, expected, "{}", row.table);
        for (name, value) in row.headers {
            assert_eq!(received[0].header(name), Some(*value), "{name} of {}", row.table);
        }
        let host = received[0].header("host").unwrap();
        assert!(host.starts_with("127.0.0.1:"), "{host}");
        assert_eq!(received[0].header("x-from"), None);
    }
}

#[tokio::test]
async fn a_failing_template_is_the_configurations_fault() {
    let table = "url = \"URL\"\nform = { x = \"{{ text | replace }}\" }";
    let (received, outcomes) = sent(table, &["1"], "secret words", json!({})).await;
    assert!(received.is_empty());
    let failure = outcomes.into_each(1).remove(0).unwrap_err();
    assert_eq!((failure.class.as_str(), &*failure.code), ("config", "template"));
    assert!(failure.detail.contains("send.form.x") && !failure.detail.contains("secret"), "{failure:?}");
}

#[test]
fn what_no_request_can_hold_is_refused_at_the_start() {
    for (table, named) in [
        ("url = \"http://h/\"\nheaders = { Content-Length = \"3\" }", "send.headers.content-length"),
        ("url = \"http://h/\"\nauth = { bearer = \"a\\nb\" }", "send.auth"),
    ] {
        let problems = Http::new(&demo(table), &ClientTls::default()).unwrap_err();
        assert_eq!(problems[0].0, named);
        assert!(problems.len() == 1 && !problems[0].1.contains("a\nb"), "{problems:?}");
    }
}
