//! What the log and the metrics tell an operator about refused requests: the reason, and which field or check
//! it is; never what somebody wrote.

use crate::{client, server::Running};
use postern_service::telemetry::JsonLines;
use serde_json::Value;
use std::{
    io,
    sync::{Mutex, OnceLock},
};
use tracing_subscriber::{Layer, filter::filter_fn, layer::SubscriberExt};

const CONFIG: &str = r#"
    [ingress]
    max_body = 1000
    max_fields = 10
    [[api.keys]]
    name = "clinic"
    key = "key-of-clinic"
    backends = ["refusals"]
    [[api.keys]]
    name = "all"
    key = "key-of-all"
    backends = ["*"]
    [compat.kannel]
    users = [{ username = "u", password = "hush-hush-hush-hush", backend = "refusals", backends = ["kan-refusals"] }]
    [compat.vumi]
    path = "/vumi"
    users = [{ username = "u", password = "hush-hush-hush-hush", backend = "refusals" }]
    [backends.refusals]
    type = "http"
    send = { url = "http://127.0.0.1:9/send" }
    [backends.refusals.receive]
    params = { identity = "phone" }
    checks = [{ expr = 'identity != "1"', error = "one" }, { expr = 'text != "hush"', error = "hush" }]
    [backends.refusals.receive.fields]
    age = { type = "integer" }
    [backends.refusals.status]
    states = { ok = "delivered" }
    [backends.kan-refusals]
    type = "kannel"
"#;

/// Everything that the programs of this process have logged, as JSON lines: a server has threads of its own.
static WRITTEN: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();

struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        WRITTEN.get_or_init(Mutex::default).lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The last line of a request that contains `mark`.
fn last_line(mark: &str) -> Value {
    let log = String::from_utf8(WRITTEN.get().unwrap().lock().unwrap().clone()).unwrap();
    let line = log.lines().rev().find(|line| line.contains(mark)).unwrap_or_else(|| panic!("{mark}"));
    serde_json::from_str(line).unwrap()
}

/// The reason, the fields and the checks.
fn told(line: &Value) -> [Option<&str>; 3] {
    ["refused", "fields", "checks"].map(|name| line[name].as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_line_of_a_refused_request_has_its_reason_and_never_a_value() {
    let lines = tracing_subscriber::fmt::layer().event_format(JsonLines).with_writer(|| Writer);
    let lines = lines.with_filter(filter_fn(|event| event.target() == "postern_ingress::access"));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(lines)).unwrap();
    let server = Running::start(CONFIG).await;
    let (form, json) = ("application/x-www-form-urlencoded", "application/json");
    let many = "a=1&".repeat(11);
    for (path, kind, body, expected) in [
        ("", form, "", [Some("form"), Some("phone, text"), None]),
        ("", form, "phone=15550100&text=a&age=hush", [Some("form"), Some("age"), None]),
        ("", form, "phone=1&text=hush", [Some("check"), None, Some("1, 2")]),
        ("", form, "phone=15550100&text=hush", [Some("check"), None, Some("2")]),
        ("", json, "{hush", [Some("json"), None, None]),
        ("", "text/xml", "<hush", [Some("xml"), None, None]),
        ("", form, &many, [Some("size"), None, None]),
        ("", form, &"hush".repeat(300), [Some("size"), None, None]),
        ("", "text/hush", "hush", [Some("media_type"), None, None]),
        ("", "multipart/form-data", "hush", [Some("body"), None, None]),
        ("/status", form, "state=ok", [Some("form"), Some("message_id, external_id"), None]),
        ("/status", form, "state=ok&message_id=hush", [Some("form"), Some("message_id"), None]),
        ("/status", json, "[", [Some("json"), None, None]),
    ] {
        let answer = server.post(&format!("/backends/refusals{path}"), kind, body.as_bytes()).await;
        let line = last_line("\"backend\":\"refusals\"");
        assert_eq!((told(&line), &line["status"]), (expected, &answer.status.into()), "{body}");
        assert_eq!(line["client"], "127.0.0.1");
    }
    server.get("/backends/kan-refusals?id=15550100&text=%ff&charset=hush").await;
    assert_eq!(told(&last_line("\"backend\":\"kan-refusals\"")), [None; 3], "what a person wrote is taken");
    server.get("/backends/refusals?phone=15550100&text=a&age=7").await;
    assert_eq!(told(&last_line("\"backend\":\"refusals\"")), [None; 3]);

    let key = ("Authorization", "Bearer key-of-clinic");
    let all = ("Authorization", "Bearer key-of-all");
    let user = ("Authorization", "Basic dTpodXNoLWh1c2gtaHVzaC1odXNo");
    let sendsms = "/cgi-bin/sendsms?username=u&password=hush-hush-hush-hush";
    for (number, (method, path, header, body, expected)) in [
        ("POST", "/v1/messages", key, "{hush", [Some("json"), None, None]),
        (
            "POST",
            "/v1/messages",
            key,
            r#"{"hush":1,"to":[""],"text":1}"#,
            [Some("form"), Some("backend, to, text"), None],
        ),
        ("POST", "/v1/messages", all, r#"{"backend":"nowhere"}"#, [Some("not_found"), Some("backend"), None]),
        ("POST", "/v1/messages", key, r#"{"backend":"hush"}"#, [Some("backend"), Some("backend"), None]),
        ("PUT", "/vumi", user, "hush", [Some("json"), None, None]),
        ("PUT", "/vumi", user, r#"{"content":7}"#, [Some("form"), Some("content, to_addr"), None]),
        ("POST", sendsms, user, "", [Some("form"), Some("to"), None]),
        (
            "POST",
            &format!("{sendsms}&to=1&dlr-url=hush-hush"),
            user,
            "",
            [Some("form"), Some("dlr-url"), None],
        ),
        (
            "POST",
            &format!("{sendsms}&to=1&text=%ff&charset=hush"),
            user,
            "",
            [Some("charset"), Some("charset"), None],
        ),
        ("POST", &format!("{sendsms}&to=1&smsc=hush"), user, "", [Some("backend"), Some("smsc"), None]),
    ]
    .into_iter()
    .enumerate()
    {
        let trace = format!("{:032x}", number + 1);
        let traced = format!("00-{trace}-b7ad6b7169203331-01");
        let mut headers = vec![header, ("traceparent", &*traced)];
        if path == "/v1/messages" {
            headers.push(("Content-Type", json));
        }
        let answer =
            client::send(server.api, &client::written(method, path, &headers, body.as_bytes())).await;
        assert!(answer.status >= 400, "{}", answer.body);
        assert_eq!(told(&last_line(&trace)), expected, "{path} {body}");
    }
    let log = String::from_utf8(WRITTEN.get().unwrap().lock().unwrap().clone()).unwrap();
    assert!(!log.contains("hush") && !log.contains("15550100"), "{log}");
    let metrics = server.metrics.text();
    for (backend, reason, count) in
        [("refusals", "json", 2), ("refusals", "check", 2), ("", "charset", 1), ("", "json", 2)]
    {
        let line =
            format!("postern_ingress_refused_total{{backend=\"{backend}\",reason=\"{reason}\"}} {count}");
        assert!(metrics.contains(&line), "{line} is not in\n{metrics}");
    }
}
