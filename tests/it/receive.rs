//! Receiving over HTTP, row by row: requests of providers, and what becomes of them.

use postern_tests::{Launch, Program, Rabbit, Tap, fetch};
use reqwest::Method;
use serde_json::{Value, json};

/// Backends for all rows below, in one ingress.
const CONFIG: &str = r#"
[ingress]
max_body = 100000

[backends.plain]
type = "http"

[backends.renamed.receive]
params = { identity = "phone", text = "message" }
[backends.renamed]
type = "http"

[backends.extra]
type = "http"
[backends.extra.receive.fields]
extra = { type = "string", required = true, max_length = 5 }
age = { type = "integer", min = 0, max = 130 }

[backends.one-number]
type = "http"
[[backends.one-number.receive.checks]]
expr = 'identity == "1231231234"'
error = "SMS received from number other than 1231231234"

[backends.nested]
type = "http"
[backends.nested.receive]
params = { identity = "/from/id", text = "/message/0/text" }

[backends.latin]
type = "http"
[backends.latin.receive]
charset = "iso-8859-1"

[backends.posting]
type = "http"
[backends.posting.receive]
methods = ["POST"]
reply = { status = 202, body = "<Response/>", content_type = "text/xml" }
"#;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const REQUIRED: &str = "This field is required.";
const NULL: &str = "Null characters are not allowed.";

/// A request and its expected result.
struct Row {
    name: &'static str,
    method: Method,
    path: &'static str,
    kind: &'static str,
    body: Vec<u8>,
    status: u16,
    /// Parts that the answer must contain.
    says: &'static [&'static str],
    /// The message that must be stored: identity, text, fields.
    stored: Option<Value>,
}

fn get(name: &'static str, path: &'static str) -> Row {
    let (method, kind, body) = (Method::GET, "", Vec::new());
    Row { name, method, path, kind, body, status: 400, says: &["form failed to validate\n"], stored: None }
}

fn post(name: &'static str, path: &'static str, kind: &'static str, body: impl AsRef<[u8]>) -> Row {
    Row { method: Method::POST, kind, body: body.as_ref().to_vec(), ..get(name, path) }
}

impl Row {
    fn stores(self, identity: &str, text: &str) -> Self {
        let stored = Some(json!([identity, text, {}]));
        Self { status: 200, says: &["OK"], stored, ..self }
    }

    fn with_fields(mut self, fields: Value) -> Self {
        if let Some(stored) = &mut self.stored {
            stored[2] = fields;
        }
        self
    }

    fn says(self, says: &'static [&'static str]) -> Self {
        Self { says, ..self }
    }

    fn is(self, status: u16, says: &'static [&'static str]) -> Self {
        Self { status, says, ..self }
    }
}

fn multipart(parts: &[(&str, &str)]) -> String {
    let part = |(name, value): &(&str, &str)| {
        format!("--b0\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    parts.iter().map(part).collect::<String>() + "--b0--\r\n"
}

fn rows_that_store() -> Vec<Row> {
    let parts = multipart(&[("identity", "555"), ("text", " ping é ")]);
    vec![
        get("GET", "/backends/plain?identity=555&text=ping").stores("555", "ping"),
        get("a final slash", "/backends/plain/?identity=555&text=ping").stores("555", "ping"),
        post("urlencoded", "/backends/plain", FORM, "identity=555&text=ping").stores("555", "ping"),
        post("a final slash", "/backends/plain/", FORM, "identity=555&text=ping").stores("555", "ping"),
        post(
            "a charset beside it",
            "/backends/plain",
            "application/x-www-form-urlencoded; charset=UTF-8",
            "identity=555&text=a",
        )
        .stores("555", "a"),
        post("multipart", "/backends/plain", "multipart/form-data; boundary=b0", parts)
            .stores("555", "ping é"),
        post("JSON", "/backends/plain", JSON, r#"{"identity":"555","text":"ping"}"#).stores("555", "ping"),
        post("a number in JSON", "/backends/plain", JSON, r#"{"identity":555,"text":"ping"}"#)
            .stores("555", "ping"),
        post("pointers", "/backends/nested", JSON, r#"{"from":{"id":"555"},"message":[{"text":"ping"}]}"#)
            .stores("555", "ping"),
        get("surrounding white space", "/backends/plain?identity=%20555%20&text=%0A%20ping%20x%09")
            .stores("555", "ping x"),
        get("the same key twice", "/backends/plain?identity=1&identity=555&text=a&text=ping")
            .stores("555", "ping"),
        post(
            "a query beside a body",
            "/backends/plain?identity=9&text=query",
            FORM,
            "identity=555&text=ping",
        )
        .stores("555", "ping"),
        get("renamed", "/backends/renamed?phone=555&message=ping&identity=9").stores("555", "ping"),
        get("unknown parameters", "/backends/plain?identity=555&text=a&password=x&fields=y")
            .stores("555", "a"),
        get("declared extras", "/backends/extra?identity=555&text=a&extra=7&age=41&no=1")
            .stores("555", "a")
            .with_fields(json!({"extra": "7", "age": 41})),
        get("only one number", "/backends/one-number?identity=1231231234&text=a").stores("1231231234", "a"),
        get("bad UTF-8", "/backends/plain?identity=555&text=a%FFb").stores("555", "a\u{fffd}b"),
        get("plus and percent", "/backends/plain?identity=%2B555&text=a+b%26c%3Dd").stores("+555", "a b&c=d"),
        get("NUL", "/backends/plain?identity=555&text=a%00b").stores("555", "ab"),
        post("a POST with nothing but a query", "/backends/plain?identity=555&text=a", FORM, "")
            .stores("555", "a"),
        post("half an emoji", "/backends/plain", JSON, r#"{"identity":"555","text":"a \ud83d"}"#)
            .stores("555", "a \u{fffd}"),
        get("emoji", "/backends/plain?identity=555&text=%F0%9F%98%80").stores("555", "\u{1f600}"),
        get("another charset", "/backends/latin?identity=555&text=caf%E9").stores("555", "café"),
        post("its own reply", "/backends/posting", FORM, "identity=555&text=a")
            .stores("555", "a")
            .is(202, &["<Response/>"]),
    ]
}

fn rows_that_do_not() -> Vec<Row> {
    let many: String = (0..1001).map(|n| format!("&p{n}=1")).collect();
    let large = format!("identity=555&text={}", "x".repeat(100_001));
    let long = format!("identity=555&text={}", "x".repeat(16_385));
    vec![
        get("nothing", "/backends/plain").says(&[
            "form failed to validate\n",
            "identity: ",
            "text: ",
            REQUIRED,
        ]),
        get("no text", "/backends/plain?identity=555").says(&["text: ", REQUIRED]),
        get("an empty text", "/backends/plain?identity=555&text=").says(&["text: ", REQUIRED]),
        get("a blank text", "/backends/plain?identity=555&text=%20%09").says(&["text: ", REQUIRED]),
        get("no identity", "/backends/plain?text=ping").says(&["identity: ", REQUIRED]),
        get("a blank identity", "/backends/plain?identity=+&text=ping").says(&["identity: ", REQUIRED]),
        get("nothing but NUL", "/backends/plain?identity=555&text=%00").says(&["text: ", REQUIRED]),
        get("NUL in the identity", "/backends/plain?identity=5%0055&text=ab").says(&["identity: ", NULL]),
        get("our names where theirs count", "/backends/renamed?identity=555&text=ping").says(&[REQUIRED]),
        get("a missing extra", "/backends/extra?identity=555&text=a").says(&["extra: ", REQUIRED]),
        get("a long extra", "/backends/extra?identity=555&text=a&extra=123456").says(&["extra: ", "5"]),
        get("a number out of range", "/backends/extra?identity=555&text=a&extra=1&age=131")
            .says(&["age: ", "130"]),
        get("no number", "/backends/extra?identity=555&text=a&extra=1&age=old").says(&["age: "]),
        get("another number", "/backends/one-number?identity=1&text=a")
            .says(&["SMS received from number other than 1231231234"]),
        post("broken JSON", "/backends/plain", JSON, "{\"identity\":").says(&["form failed to validate\n"]),
        post("JSON that is no object", "/backends/plain", JSON, "[1]").says(&["form failed to validate\n"]),
        post("broken multipart", "/backends/plain", "multipart/form-data; boundary=b0", "--b0\r\nContent"),
        post("too many parameters", "/backends/plain", FORM, format!("identity=1&text=a{many}"))
            .is(400, &["1000"]),
        post("too large", "/backends/plain", FORM, large).is(413, &[]),
        post("too long a text", "/backends/plain", FORM, long).says(&["text: ", "16384"]),
        post("an unknown kind", "/backends/plain", "application/pdf", "%PDF").is(415, &["application/json"]),
        get("an unknown backend", "/backends/nobody?identity=555&text=a").is(404, &[]),
        get("no backend's name", "/backends/No%20body?identity=555&text=a").is(404, &[]),
        Row { method: Method::PUT, ..get("PUT", "/backends/plain?identity=555&text=a") }.is(405, &[]),
        Row { method: Method::HEAD, ..get("HEAD", "/backends/plain?identity=555&text=a") }.is(405, &[]),
        Row { method: Method::OPTIONS, ..get("OPTIONS", "/backends/plain?identity=555&text=a") }.is(405, &[]),
        Row { method: Method::DELETE, ..get("DELETE", "/backends/plain/") }.is(405, &[]),
        get("GET where only POST is taken", "/backends/posting?identity=555&text=a").is(405, &[]),
    ]
}

async fn ingress() -> (Program, Tap) {
    let vhost = Rabbit::shared().vhost();
    let ingress = Launch::ingress(&vhost.config(CONFIG)).start().await;
    (ingress, vhost.tap().await)
}

#[tokio::test]
async fn each_request_is_stored_or_refused_as_the_table_says() {
    let (ingress, tap) = ingress().await;
    for row in rows_that_store().into_iter().chain(rows_that_do_not()) {
        let name = row.name;
        let mut request = ingress.request(row.method.clone(), row.path);
        if !row.kind.is_empty() {
            request = request.header("Content-Type", row.kind).body(row.body);
        }
        let reply = fetch(request).await.unwrap_or_else(|e| panic!("{name}: {e:?}"));
        assert_eq!(reply.status, row.status, "{name}: {}", reply.text);
        for part in row.says {
            assert!(reply.text.contains(part), "{name}: {:?} does not say {part:?}", reply.text);
        }
        if row.status == 405 {
            let allowed = if row.path.contains("posting") { "POST" } else { "GET, POST" };
            assert_eq!(reply.header("allow"), Some(allowed), "{name}");
        }
        let Some(stored) = row.stored else { continue };
        // A message that an earlier row should not have stored would come here instead.
        let message = tap.take("postern.inbound").await.json();
        assert_eq!(json!([message["identity"], message["text"], message["fields"]]), stored, "{name}");
        assert!(!message.to_string().contains("password"), "{name}: {message}");
    }
    let last = ingress.get("/backends/plain?identity=the-last&text=a").await;
    assert_eq!(last.status, 200);
    assert_eq!(
        tap.take("postern.inbound").await.json()["identity"],
        "the-last",
        "a refused row stored something"
    );
    let secrets = ["1231231234", "ping x", "password=x"];
    ingress.ends_silent(&secrets).await;
}

#[tokio::test]
async fn the_reply_is_the_providers_own() {
    let (ingress, _tap) = ingress().await;
    let reply = ingress.post_form("/backends/posting", &[("identity", "555"), ("text", "a")]).await;
    assert_eq!(reply.status, 202);
    assert_eq!((reply.header("content-type"), reply.text.as_str()), (Some("text/xml"), "<Response/>"));
    let plain = ingress.post_form("/backends/plain", &[("identity", "555"), ("text", "a")]).await;
    assert_eq!(plain.header("content-type"), Some("text/plain; charset=utf-8"));
}

/// The three examples in RapidSMS's documentation of custom backends, renamed parameters, an additional
/// parameter and a single number, in one backend.
#[tokio::test]
async fn the_examples_of_rapidsms_work_together() {
    let vhost = Rabbit::shared().vhost();
    let config = r#"
        [backends.mybackend]
        type = "http"
        [backends.mybackend.receive]
        params = { identity = "phone", text = "message" }
        [backends.mybackend.receive.fields]
        extra = { type = "string", required = true }
        [[backends.mybackend.receive.checks]]
        expr = 'identity == "1231231234"'
        error = "SMS received from number other than 1231231234"
    "#;
    let ingress = Launch::ingress(&vhost.config(config)).start().await;
    let form = |phone, extra| [("phone", phone), ("message", "ping"), extra];
    let good = ingress.post_form("/backends/mybackend/", &form("1231231234", ("extra", "1"))).await;
    assert_eq!((good.status, good.text.as_str()), (200, "OK"));
    let message = vhost.tap().await.take("postern.inbound").await.json();
    assert_eq!(
        json!([message["identity"], message["text"], message["fields"]]),
        json!(["1231231234", "ping", {"extra": "1"}])
    );
    let bad = ingress.post_form("/backends/mybackend/", &form("555", ("extra", "1"))).await;
    assert_eq!(bad.status, 400);
    assert!(bad.text.starts_with("form failed to validate\n"), "{}", bad.text);
    assert!(bad.text.contains("SMS received from number other than 1231231234"), "{}", bad.text);
    let missing = ingress.post_form("/backends/mybackend/", &form("1231231234", ("other", "1"))).await;
    assert_eq!(missing.status, 400);
    assert!(missing.text.contains("extra: This field is required."), "{}", missing.text);
}

/// The log line says that something was replaced, without quoting it.
#[tokio::test]
async fn a_text_in_another_charset_is_told_of_in_the_log() {
    let gateway = Launch::gateway().config("[backends.plain]\ntype = \"http\"\n").start().await;
    for text in ["h%C3%B4tel", "h%F4tel"] {
        let reply = gateway.get(&format!("/backends/plain?identity=1&text={text}")).await;
        assert_eq!(reply.status, 200, "{text}");
    }
    let line = gateway.log().wait_for("\"replaced\":1").await;
    assert!(line.contains("\"backend\":\"plain\"") && !line.contains("tel"), "{line}");
    let lines = gateway.terminate().await.log;
    assert_eq!(lines.lines().filter(|line| line.contains("\"replaced\"")).count(), 1, "{lines}");
}
