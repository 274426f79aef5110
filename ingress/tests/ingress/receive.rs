//! What a provider's requests become: the table of RapidSMS's behaviour, row by row.

use crate::{client, server::Running};
use postern_broker::{Address, BrokerError};
use postern_ingress::forms::{Cleaned, Errors, Form, Forms, HttpForm, Request};
use postern_shared::message::MessageId;
use serde_json::json;
use std::time::Duration;

const DEMO: &str = "[backends.demo]\ntype = \"http\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_valid_request_is_published_and_answered() {
    let server = Running::start(DEMO).await;
    let multipart = "--B\r\nContent-Disposition: form-data; name=\"identity\"\r\n\r\n1\r\n\
                     --B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nbytes\r\n\
                     --B\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\nping\r\n--B--\r\n";
    let answers = [
        server.get("/backends/demo?identity=1&text=ping").await,
        server.get("/backends/demo/?identity=1&text=ping").await,
        server.form("/backends/demo", "identity=1&text=ping").await,
        server.form("/backends/demo/", "identity=1&text=ping").await,
        server.form("/backends/demo", "identity=1&text=%20ping%0A").await,
        server.form("/backends/demo", "identity=2&identity=1&text=ping").await,
        server.form("/backends/demo?identity=9&text=query", "identity=1&text=ping").await,
        server.post("/backends/demo", "multipart/form-data; boundary=B", multipart.as_bytes()).await,
        server.post("/backends/demo", "application/json", br#"{"identity": 1, "text": "ping"}"#).await,
    ];
    for answer in &answers {
        assert_eq!((answer.status, answer.body.as_str()), (200, "OK"));
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    }
    let messages = server.inbound();
    assert_eq!(messages.len(), answers.len());
    for message in messages {
        assert_eq!((message.identity.as_str(), message.text.as_str()), ("1", "ping"));
        assert_eq!(message.backend.as_str(), "demo");
        assert!(message.fields.is_empty() && message.external_id.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_request_is_refused_and_says_why() {
    let server = Running::start(DEMO).await;
    let required = "This field is required.";
    let null = "Null characters are not allowed.";
    for (query, lines) in [
        ("", format!("identity: {required}\ntext: {required}\n")),
        ("identity=1", format!("text: {required}\n")),
        ("identity=1&text=", format!("text: {required}\n")),
        ("identity=+%09&text=a", format!("identity: {required}\n")),
        ("identity=1%00&text=a%00b", format!("identity: {null}\n")),
        ("identity=1&text=%00", format!("text: {required}\n")),
    ] {
        for answer in
            [server.get(&format!("/backends/demo?{query}")).await, server.form("/backends/demo", query).await]
        {
            assert_eq!(answer.status, 400, "{query}");
            assert_eq!(answer.body, format!("form failed to validate\n{lines}"), "{query}");
        }
    }
    assert_eq!(server.inbound(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_are_the_backends_own() {
    let server = Running::start(
        "[backends.demo]\ntype = \"http\"\n[backends.put]\ntype = \"http\"\nreceive = { methods = [\"PUT\"] }",
    )
    .await;
    for method in ["PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "PROPFIND"] {
        for path in ["/backends/demo?identity=1&text=a", "/backends/demo/"] {
            let answer = server.method(method, path).await;
            assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, POST")), "{method}");
        }
    }
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let put = client::written("PUT", "/backends/put", &form, b"identity=1&text=a");
    assert_eq!(client::send(server.address, &put).await.status, 200);
    assert_eq!(server.get("/backends/put?identity=1&text=a").await.header("allow"), Some("PUT"));
    assert_eq!(server.inbound().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_without_a_backend_is_not_found() {
    let server = Running::start(DEMO).await;
    for path in [
        "/",
        "/backends",
        "/backends/",
        "/backends/other?identity=1&text=a",
        "/backends/Demo?identity=1&text=a",
        "/backends/demo/x",
        "/backends/demo//",
        "/backends/%00",
        "/backends/%ff",
        "/backends/demo%2f",
        "/backends/..%2fdemo",
    ] {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
    assert_eq!(server.form("/backends/other", "identity=1&text=a").await.status, 404);
    assert_eq!(server.inbound(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contracts_backend_renames_declares_and_checks() {
    let server = Running::start(
        r#"
        [backends.mybackend]
        type = "http"
        [backends.mybackend.receive]
        params = { identity = "phone", text = "message", external_id = "mid", received_at = "at" }
        reply = { status = 201, body = "<Response/>", content_type = "text/xml" }
        [backends.mybackend.receive.fields]
        extra = { type = "string", required = true, max_length = 20 }
        age = { type = "integer", min = 1 }
        [[backends.mybackend.receive.checks]]
        expr = 'identity == "1231231234"'
        error = "SMS received from number other than 1231231234"
        [[backends.mybackend.receive.checks]]
        expr = '!has(fields.age) || fields.age >= 18'
        error = "Only for adults"
        "#,
    )
    .await;
    let path = "/backends/mybackend";
    let answer = server
        .form(path, "phone=1231231234&message=a&extra=x&age=20&mid=M1&at=2026-11-22T17:00:00Z&more=z")
        .await;
    assert_eq!((answer.status, answer.body.as_str()), (201, "<Response/>"));
    assert_eq!(answer.header("content-type"), Some("text/xml"));
    let messages = server.inbound();
    assert_eq!(json!(messages[0].fields), json!({"extra": "x", "age": 20}));
    assert_eq!(
        messages[0].id,
        MessageId::inbound(&"mybackend".parse().unwrap(), "M1", &messages[0].identity, "a")
    );
    assert_eq!(messages[0].external_id.as_deref(), Some("M1"));
    assert_eq!(messages[0].received_at.to_string(), "2026-11-22T17:00:00Z");
    for (body, lines) in [
        (
            "phone=1&message=a&extra=x&age=17",
            "SMS received from number other than 1231231234\nOnly for adults\n",
        ),
        ("phone=1231231234&message=a", "extra: This field is required.\n"),
        (
            "phone=1231231234&message=a&extra=123456789012345678901&age=x",
            "extra: Ensure this value has at most 20 characters (it has 21).\nage: Enter a whole number.\n",
        ),
    ] {
        let answer = server.form(path, body).await;
        assert_eq!(
            (answer.status, answer.body),
            (400, format!("form failed to validate\n{lines}")),
            "{body}"
        );
    }
    assert_eq!(server.inbound(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_same_message_again_is_a_repetition() {
    let server = Running::start(DEMO).await;
    let brought = [
        ("1", "forged", true),
        ("2", "the true one", true),
        ("1", "the true one", true),
        ("2", "the true one", false),
        ("1", "forged", false),
    ];
    let mut ids = std::collections::BTreeSet::new();
    for (identity, text, stored) in brought {
        let body = format!("identity={identity}&text={text}&external_id=1001");
        assert_eq!(server.form("/backends/demo", &body).await.status, 200);
        let messages = server.inbound();
        assert_eq!(messages.len(), usize::from(stored), "{body}");
        ids.extend(messages.iter().map(|message| message.id));
    }
    assert_eq!(ids.len(), 3, "each has an id of its own");
    let counted = "postern_ingress_duplicates_total{backend=\"demo\"} 2";
    assert!(server.metrics.text().contains(counted), "{}", server.metrics.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn values_are_decoded_by_the_declared_charset() {
    let server = Running::start(
        "[backends.utf8]\ntype = \"http\"\n[backends.latin]\ntype = \"http\"\nreceive = { charset = \"iso-8859-1\" }\n\
         [backends.wide]\ntype = \"http\"\nreceive = { charset = \"utf-16be\" }",
    )
    .await;
    for (path, text) in [
        ("/backends/utf8?identity=1&text=h%C3%A9", "hé"),
        ("/backends/utf8?identity=1&text=h%E9", "h\u{fffd}"),
        ("/backends/latin?identity=1&text=h%E9", "hé"),
        ("/backends/wide?identity=%001&text=%D8%3D%DE%00", "😀"),
    ] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
        let messages = server.inbound();
        assert_eq!((messages[0].identity.as_str(), messages[0].text.as_str()), ("1", text), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_addressed_typed_and_traced() {
    let proves = "[backends.proves]\ntype = \"http\"\nreceive = { auth = { token = { secret = \"t\", query = \"t\" } } }\n";
    let server = Running::start(&format!("{DEMO}{proves}")).await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    // A request that proves nothing neither joins a trace nor decides whether it is sampled.
    for (backend, header, kept) in
        [("proves", trace, true), ("proves", "nonsense", false), ("demo", trace, false)]
    {
        let path = format!("/backends/{backend}?t=t&identity=1&text=a");
        let state = ("Tracestate", "rojo=1,congo=t61");
        let request = client::written("GET", &path, &[("Traceparent", header), state], b"");
        assert_eq!(client::send(server.address, &request).await.status, 200);
        let published = server.broker.take();
        let [(address, envelope)] = &published[..] else { panic!("{published:?}") };
        assert_eq!(*address, Address::Inbound(backend.parse().unwrap()));
        assert_eq!(envelope.kind.as_deref(), Some("postern.inbound.v1"));
        assert_eq!(envelope.content_type.as_deref(), Some("application/json"));
        let passed = envelope.text_header("traceparent").unwrap();
        assert_eq!((passed == trace, passed.ends_with("-00")), (kept, kept), "{backend} {header}");
        assert_eq!((passed.len(), &passed[..3]), (55, "00-"));
        assert_eq!(envelope.text_header("tracestate"), kept.then_some(state.1));
        let message: serde_json::Value = serde_json::from_slice(&envelope.body).unwrap();
        assert_eq!(message["id"].as_str(), envelope.message_id.as_deref());
        assert!(message["received_at"].as_str().unwrap().len() <= "2026-11-22T17:00:00.123Z".len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_answered_before_the_broker_confirms() {
    let server = Running::start(DEMO).await;
    server.broker.held.send_replace(true);
    let request = client::written("GET", "/backends/demo?identity=1&text=a", &[], b"");
    let address = server.address;
    let answer = tokio::spawn(async move { client::send(address, &request).await });
    server.broker.begun.subscribe().wait_for(|begun| *begun == 1).await.unwrap();
    assert!(!answer.is_finished());
    server.broker.held.send_replace(false);
    assert_eq!(answer.await.unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_answered_503_and_never_500() {
    let server = Running::start(DEMO).await;
    let failures: [fn() -> BrokerError; 5] = [
        || BrokerError::Blocked("memory".to_owned()),
        || BrokerError::Full("postern.inbound".to_owned()),
        || BrokerError::TimedOut(Duration::from_secs(5)),
        || BrokerError::Refused("too large".to_owned()),
        || BrokerError::Closed,
    ];
    for failure in failures {
        server.broker.answer(move |_| Err(failure()));
        let answer = server.get("/backends/demo?identity=1&text=a").await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    }
    server.broker.answer(|_| Ok(()));
    assert_eq!(server.get("/backends/demo?identity=1&text=a").await.status, 200);
    assert_eq!(server.inbound().len(), 1);
    let metrics = server.metrics.text();
    for line in [
        "postern_publish_failures_total{queue=\"postern.inbound\"} 5",
        "postern_publish_duration_seconds_count{queue=\"postern.inbound\"} 6",
        "postern_ingress_requests_total{backend=\"demo\",compat=\"\",method=\"GET\",status=\"503\"} 5",
        "postern_ingress_requests_total{backend=\"demo\",compat=\"\",method=\"GET\",status=\"200\"} 1",
        "postern_ingress_request_duration_seconds_count{backend=\"demo\"} 6",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

/// Accepts only one sender's messages; panics at the word `panic`.
struct OneNumber(HttpForm);

impl Form for OneNumber {
    fn clean(&self, request: &Request<'_>) -> Result<Cleaned, Errors> {
        let cleaned = self.0.clean(request)?;
        assert_ne!(cleaned.text, "panic");
        match cleaned.identity.as_str() {
            "1231231234" => Ok(cleaned),
            _ => Err(Errors::of("identity", "SMS received from number other than 1231231234")),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_in_rust_wraps_the_default_one_and_may_not_take_the_server_down() {
    let forms = Forms::builtin();
    let forms = forms.with("one", |b| HttpForm::new(&b.definition.receive).map(OneNumber)).unwrap();
    let text = "[backends.demo]\ntype = \"http\"\n[backends.demo.receive]\nform = \"one\"\nparams = { identity = \"from\" }\n\
                [[backends.demo.receive.checks]]\nexpr = 'text != \"no\"'\nerror = \"no\"\n";
    let server = Running::with_forms(text, forms).await;
    for (query, status, body) in [
        ("from=1231231234&text=a", 200, "OK"),
        (
            "from=1&text=a",
            400,
            "form failed to validate\nidentity: SMS received from number other than 1231231234\n",
        ),
        ("text=a", 400, "form failed to validate\nfrom: This field is required.\n"),
        ("from=1231231234&text=no", 400, "form failed to validate\nno\n"),
        ("from=1231231234&text=panic", 503, "the broker did not confirm the message; try again later\n"),
        ("from=1231231234&text=a", 200, "OK"),
    ] {
        let answer = server.get(&format!("/backends/demo?{query}")).await;
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{query}");
    }
    assert_eq!(server.inbound().len(), 2);
}

/// Bytes that are invalid in the request's charset are logged and counted without showing the text.
#[tokio::test(flavor = "multi_thread")]
async fn a_text_in_another_charset_is_stored_and_counted() {
    let server = Running::start("[backends.plain]\ntype = \"http\"\n").await;
    let replaced = || server.metric("postern_ingress_replaced_total{backend=\"plain\"}");
    for (query, text, count) in [
        ("identity=1&text=caf%C3%A9", "caf\u{e9}", 0.0),
        ("identity=1&text=caf%E9", "caf\u{fffd}", 1.0),
        ("identity=1&text=plain", "plain", 1.0),
    ] {
        assert_eq!(server.get(&format!("/backends/plain?{query}")).await.status, 200, "{query}");
        assert_eq!((server.inbound()[0].text.as_str(), replaced()), (text, Some(count)), "{query}");
    }
}
