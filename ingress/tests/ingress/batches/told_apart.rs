//! How messages and delivery reports at one endpoint, or in one body, are distinguished.

use super::{calls_of, posted, told};
use crate::server::Running;
use serde_json::{Value, json};

/// WhatsApp's shape: messages and reports at one endpoint, in one body.
const BOTH: &str = r#"
    [backends.chat]
    type = "http"
    [backends.chat.receive]
    each = "/entry/*/changes/*/value/messages"
    when = 'body.object == "business_account"'
    ignore = true
    params = { identity = "/from", text = "/text/body", external_id = "/id", kind = "/type" }
    fields = { kind = {} }
    reply = { body = "EVENT_RECEIVED" }
    [backends.chat.status]
    each = "/entry/*/changes/*/value/statuses"
    when = 'body.object == "business_account"'
    params = { external_id = "/id", identity = "/recipient_id", state = "/status" }
    states = { delivered = "delivered", read = "delivered" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn when_tells_the_items_of_one_list_apart() {
    let server = Running::start(
        r#"
        [backends.page]
        type = "http"
        [backends.page.receive]
        each = "/entry/*/messaging"
        when = 'body.object == settings.object && has(item.message) && !has(item.message.is_echo)'
        ignore = true
        params = { identity = "/sender/id", text = "/message/text", external_id = "/message/mid" }
        [backends.page.status]
        each = "/entry/*/messaging"
        when = 'has(item.delivery)'
        params = { external_id = "/delivery/mids/0", state = "/delivery/state" }
        states = { ok = "delivered" }
        [backends.page.settings]
        object = "page"
        "#,
    )
    .await;
    let message = |id: &str, text: &str| json!({"sender": {"id": "1"}, "message": {"mid": id, "text": text}});
    let echo = json!({"sender": {"id": "2"}, "message": {"mid": "e", "text": "echo", "is_echo": true}});
    let report = json!({"sender": {"id": "1"}, "delivery": {"mids": ["r"], "state": "ok"}});
    let read = json!({"sender": {"id": "1"}, "read": {"watermark": 7}});
    let body = |object: &str, items: &[Value]| json!({"object": object, "entry": [{"messaging": items}]});
    for (body, wanted) in [
        (
            body(
                "page",
                &[message("a", "one"), echo.clone(), report.clone(), read.clone(), message("b", "two")],
            ),
            vec![vec!["one", "two", "r delivered"]],
        ),
        (body("page", &[echo, read]), vec![]),
        (body("other", &[message("c", "three"), report]), vec![vec!["r delivered"]]),
    ] {
        let (status, answer, calls) = posted(&server, "/backends/page", &body).await;
        assert_eq!((status, answer.as_str(), calls), (200, "OK", calls_of(wanted)), "{body}");
    }
    assert_eq!(server.metric("postern_ingress_ignored_total{backend=\"page\"}"), Some(1.0));
    assert_eq!(server.metric("postern_ingress_invalid_items_total{backend=\"page\"}"), Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_or_a_request_for_which_when_cannot_be_evaluated_is_invalid() {
    let server = Running::start(
        r#"
        [backends.items]
        type = "http"
        [backends.items.receive]
        each = "/events"
        when = 'item.parts > 0'
        ignore = true
        params = { identity = "/from", text = "/text" }
        [backends.whole]
        type = "http"
        [backends.whole.receive]
        when = 'body.parts > 0'
        ignore = true
        params = { identity = "/from", text = "/text" }
        [backends.whole.status]
        when = 'has(body.state)'
        params = { external_id = "/id", state = "/state" }
        states = { ok = "delivered" }
        "#,
    )
    .await;
    let message = |text: &str, parts: Value| json!({"from": "1", "text": text, "parts": parts});
    let why = "receive.when cannot be evaluated: a value has another type than the expression expects";
    let refused = |whose: &str| (400, format!("form failed to validate\n{whose}{why}\n"), vec![]);
    let taken = |calls: Vec<Vec<&str>>| (200, "OK".to_owned(), calls_of(calls));
    let report = json!({"parts": "1", "id": "r", "state": "ok"});
    let (good, none, bad) = (message("a", json!(1)), message("b", json!(0)), message("c", json!("1")));
    for (path, body, wanted) in [
        ("/backends/items", json!({"events": [good, bad, none]}), taken(vec![vec!["a"]])),
        ("/backends/items", json!({"events": [none, bad]}), refused("events[1]: ")),
        ("/backends/items", json!({"events": [none, {"from": "1"}]}), taken(vec![])),
        ("/backends/whole", good, taken(vec![vec!["a"]])),
        ("/backends/whole", none, taken(vec![])),
        ("/backends/whole", bad, refused("")),
        // What is certainly a delivery report is taken.
        ("/backends/whole", report, taken(vec![vec!["r delivered"]])),
    ] {
        assert_eq!(posted(&server, path, &body).await, wanted, "{path} {body}");
    }
    assert_eq!(server.metric("postern_ingress_invalid_items_total{backend=\"items\"}"), Some(1.0));
    assert_eq!(server.metric("postern_ingress_ignored_total{backend=\"whole\"}"), Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_reports_of_one_body_are_one_publish() {
    let server = Running::start(BOTH).await;
    let value = |value: Value| json!({"changes": [{"value": value}]});
    let body = |entry: &[Value]| json!({"object": "business_account", "entry": entry});
    let text =
        |id: &str, text: &str| json!({"from": "+15550100", "id": id, "type": "text", "text": {"body": text}});
    let status = |id: &str| json!({"id": id, "recipient_id": "+15550100", "status": "read"});
    let taken = |calls: &[&[&str]]| {
        let calls = calls.iter().map(|call| call.iter().map(|one| (*one).to_owned()).collect()).collect();
        (200, "EVENT_RECEIVED".to_owned(), calls)
    };
    for (body, wanted) in [
        (
            body(&[
                value(json!({"messages": [text("a", "one"), text("b", "two")]})),
                value(json!({"statuses": [status("s1")]})),
                value(json!({"messages": [text("c", "three")], "statuses": [status("s2")]})),
            ]),
            taken(&[&["one", "two", "three", "s1 delivered", "s2 delivered"]]),
        ),
        (body(&[value(json!({"statuses": [status("s3")]}))]), taken(&[&["s3 delivered"]])),
        (body(&[value(json!({"messages": [text("d", "four")]}))]), taken(&[&["four"]])),
        (body(&[value(json!({"messages": [], "statuses": []}))]), taken(&[])),
        (body(&[value(json!({"account_update": {}}))]), taken(&[])),
        (json!({"object": "page", "entry": [value(json!({"messages": [text("e", "five")]}))]}), taken(&[])),
        (json!({}), taken(&[])),
        (json!([]), taken(&[])),
    ] {
        assert_eq!(posted(&server, "/backends/chat", &body).await, wanted, "{body}");
    }
    // An invalid report does not stop the messages of the same body.
    let broken = body(&[value(json!({"messages": [text("f", "six")], "statuses": [{"id": "s4"}]}))]);
    assert_eq!(posted(&server, "/backends/chat", &broken).await, taken(&[&["six"]]));
    let broken = body(&[value(json!({"statuses": [{"id": "s4"}]}))]);
    let (refused, why, calls) = posted(&server, "/backends/chat", &broken).await;
    assert_eq!((refused, calls.len()), (400, 0));
    let place = "entry[0].changes[0].value.statuses[0].status: This field is required.";
    assert_eq!(why, format!("form failed to validate\n{place}\n"));
    assert_eq!(server.metric("postern_ingress_ignored_total{backend=\"chat\"}"), Some(5.0));
    assert_eq!(posted(&server, "/backends/chat/status", &json!({"object": "page"})).await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_tells_messages_from_reports() {
    let server = Running::start(
        r#"
        [backends.a]
        type = "http"
        [backends.a.status]
        when = 'has(body.state)'
        states = { ok = "delivered" }
        [backends.b]
        type = "http"
        [backends.b.receive]
        when = 'query.event == "message" || headers["x-event"] == "message"'
        params = { identity = "/from", text = "/text" }
        [backends.b.status]
        when = 'query.event == "report"'
        params = { external_id = "/id", state = "/state" }
        states = { ok = "delivered" }
        "#,
    )
    .await;
    let (message, report) = (json!({"from": "1", "text": "hi"}), json!({"id": "r", "state": "ok"}));
    for (path, body, status, stored) in [
        ("/backends/b?event=message", &message, 200, Some("hi")),
        ("/backends/b?event=report", &report, 200, Some("r delivered")),
        ("/backends/b/status?event=report", &report, 200, Some("r delivered")),
        ("/backends/b?event=other", &message, 400, None),
        ("/backends/b", &message, 400, None),
        ("/backends/b/status", &report, 400, None),
        ("/backends/a", &json!({"identity": "1", "text": "hi"}), 200, Some("hi")),
        ("/backends/a", &json!({"external_id": "r", "state": "ok"}), 200, Some("r delivered")),
        ("/backends/a/status", &json!({"external_id": "r", "state": "ok"}), 200, Some("r delivered")),
    ] {
        let (answered, body_of_answer, calls) = posted(&server, path, body).await;
        assert_eq!(answered, status, "{path} {body}: {body_of_answer}");
        assert_eq!(calls, stored.into_iter().map(|one| vec![one.to_owned()]).collect::<Vec<_>>(), "{path}");
        if status == 400 {
            assert!(body_of_answer.contains("neither a message nor a delivery report"), "{body_of_answer}");
        }
    }
    // Forms and queries are distinguished in the same way.
    let form = server.form("/backends/a", "external_id=r&state=ok").await;
    assert_eq!((form.status, told(&server.broker.take())), (200, vec!["r delivered".to_owned()]));
    let get = server.get("/backends/a?identity=1&text=hi").await;
    assert_eq!((get.status, told(&server.broker.take())), (200, vec!["hi".to_owned()]));
}
