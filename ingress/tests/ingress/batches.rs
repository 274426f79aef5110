//! Several messages and delivery reports in one request: all that are valid are stored in one publish before
//! the 2xx, or none.

mod told_apart;

use crate::server::Running;
use postern_broker::{Address, BrokerError, Envelope};
use postern_shared::message::{Inbound, MessageId, Report};
use serde_json::{Value, json};

/// Messages with `each`, and reports at an endpoint of their own.
const EACH: &str = r#"
    [ingress]
    max_items = 5
    [backends.demo]
    type = "http"
    [backends.demo.receive]
    each = "/results"
    params = { identity = "/from", text = "/message/text", external_id = "/id", received_at = "/at", batch = "^/bulkId", account = "account" }
    [backends.demo.receive.fields]
    batch = {}
    account = {}
    age = { type = "integer", min = 1 }
    [[backends.demo.receive.checks]]
    expr = 'text != "spam"'
    error = "no spam"
    [backends.demo.status]
    each = "/results"
    params = { external_id = "/id", identity = "/to", state = "/status/name", code = "/error/0/code" }
    states = { DELIVERED = "delivered", REJECTED = "failed" }
"#;

const OK: (u16, &str) = (200, "OK");

/// What the broker got in one publish, in order: the texts of messages, and the ids and states of reports.
fn told(call: &[(Address, Envelope)]) -> Vec<String> {
    let told = |(address, envelope): &(Address, Envelope)| match address {
        Address::Inbound(_) => Inbound::from_json(&envelope.body).unwrap().text,
        Address::Reports(_) => {
            let report = Report::from_json(&envelope.body).unwrap();
            let recipient = &report.recipients[0];
            let state = format!("{:?}", recipient.state).to_lowercase();
            format!("{} {state}", recipient.external_id.as_deref().unwrap())
        }
        other => panic!("{other:?}"),
    };
    call.iter().map(told).collect()
}

fn message(id: &str, text: &str) -> Value {
    json!({"from": "+15550100", "id": id, "message": {"text": text}})
}

fn results(items: &[Value]) -> Value {
    json!({"bulkId": "B1", "results": items})
}

async fn posted(server: &Running, path: &str, body: &Value) -> (u16, String, Vec<Vec<String>>) {
    let answer = server.json(path, body).await;
    let calls = server.broker.take_calls();
    (answer.status, answer.body, calls.iter().map(|call| told(call)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_item_is_a_message_and_all_are_one_publish() {
    let server = Running::start(EACH).await;
    let items = [
        json!({"from": "+15550100", "id": "m1", "message": {"text": "one"}, "at": "2026-11-26T10:00:00Z", "age": 17}),
        json!({"from": "+15550177", "message": {"text": "two"}, "account": "own"}),
        json!({"from": "+15550178", "id": "m3", "kind": "picture"}),
    ];
    let answer = server.json("/backends/demo?account=A7", &results(&items)).await;
    assert_eq!((answer.status, answer.body.as_str()), OK);
    let calls = server.broker.take_calls();
    assert_eq!(calls.len(), 1, "one publish");
    let messages: Vec<_> =
        calls[0].iter().map(|(_, envelope)| Inbound::from_json(&envelope.body).unwrap()).collect();
    let texts: Vec<_> = messages.iter().map(|it| (it.identity.as_str(), it.text.as_str())).collect();
    assert_eq!(texts, [("+15550100", "one"), ("+15550177", "two"), ("+15550178", "")]);
    let fields: Vec<_> = messages.iter().map(|it| json!(it.fields)).collect();
    assert_eq!(
        fields,
        [
            json!({"batch": "B1", "account": "A7", "age": 17}),
            json!({"batch": "B1", "account": "own"}),
            json!({"batch": "B1", "account": "A7"}),
        ]
    );
    let backend = "demo".parse().unwrap();
    assert_eq!(messages[0].id, MessageId::inbound(&backend, "m1", &messages[0].identity, "one"));
    assert_eq!(messages[0].received_at.to_string(), "2026-11-26T10:00:00Z");
    assert_ne!(messages[1].id, messages[2].id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_be_read_of_a_batch_is_taken_and_one_of_which_nothing_can_is_refused() {
    let server = Running::start(EACH).await;
    let good = message("m1", "one");
    let invalid =
        |lines: &str| (400, format!("form failed to validate\n{lines}\n"), Vec::<Vec<String>>::new());
    for (body, wanted) in [
        (
            results(&[good.clone(), json!({"id": "m2", "message": {"text": "two"}})]),
            (200, "OK".to_owned(), vec![vec!["one".to_owned()]]),
        ),
        (
            results(&[
                json!({"from": "1", "age": 0}),
                message("m7", "seven"),
                json!({"from": "2", "message": {"text": "spam"}}),
                message("m8", "eight"),
                json!({"from": {"n": 1}}),
            ]),
            (200, "OK".to_owned(), vec![vec!["seven".to_owned(), "eight".to_owned()]]),
        ),
        (
            results(&[
                json!({"from": "1", "age": 0}),
                json!({"from": "2", "message": {"text": "spam"}}),
                json!({"from": {"n": 1}}),
            ]),
            invalid(
                "results[0]: age: Ensure this value is greater than or equal to 1.\nresults[1]: no spam\n\
                 results[2].from: Enter a valid value.",
            ),
        ),
        (results(&[json!("x")]), invalid("results[0].from: This field is required.")),
        (json!({"results": "x"}), invalid("results must be a list")),
        (
            json!({"other": []}),
            invalid("the body has no /results (receive.each); to accept other requests, set receive.ignore"),
        ),
        (
            json!({"results": null}),
            invalid("the body has no /results (receive.each); to accept other requests, set receive.ignore"),
        ),
        (results(&[]), (200, "OK".to_owned(), vec![])),
        (
            results(&vec![good.clone(); 6]),
            (413, "at most 5 items are accepted in one request (ingress.max_items)\n".to_owned(), vec![]),
        ),
        // Known from the first row.
        (results(&[good]), (200, "OK".to_owned(), vec![])),
    ] {
        assert_eq!(posted(&server, "/backends/demo", &body).await, wanted, "{body}");
    }
    let form = server.form("/backends/demo", "identity=1&text=a").await;
    assert_eq!(form.status, 400);
    assert!(form.body.contains("the body is not JSON (receive.each)"), "{}", form.body);
    assert_eq!(server.metric("postern_ingress_ignored_total{backend=\"demo\"}"), Some(1.0));
    assert_eq!(server.metric("postern_ingress_invalid_items_total{backend=\"demo\"}"), Some(4.0));
}

fn calls_of(texts: Vec<Vec<&str>>) -> Vec<Vec<String>> {
    texts.into_iter().map(|call| call.into_iter().map(str::to_owned).collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_not_stored_is_repeated_and_only_what_is_known_is_left_out() {
    let server = Running::start(EACH).await;
    let (one, two, three) = (message("m1", "one"), message("m2", "two"), message("m3", "three"));
    let without_id = json!({"from": "+15550100", "message": {"text": "no id"}});
    server.broker.answer(|_| Err(BrokerError::Full("postern.inbound".to_owned())));
    let answer = server.json("/backends/demo", &results(&[one.clone(), two.clone()])).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
    server.broker.answer(|_| Ok(()));
    for (items, stored) in [
        (vec![one.clone(), two.clone()], vec![vec!["one", "two"]]),
        (vec![one.clone(), two.clone()], vec![]),
        (vec![two.clone(), three.clone(), without_id.clone()], vec![vec!["three", "no id"]]),
        (vec![three, without_id], vec![vec!["no id"]]),
        // Another text under a known id is another message. The same message twice in one body is stored
        // once.
        (vec![message("m1", "new"), message("m1", "new")], vec![vec!["new"]]),
    ] {
        let (status, body, calls) = posted(&server, "/backends/demo", &results(&items)).await;
        assert_eq!((status, body.as_str()), OK);
        assert_eq!(calls, stored, "{items:?}");
    }
    assert_eq!(server.metric("postern_ingress_duplicates_total{backend=\"demo\"}"), Some(5.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_item_is_a_report_too() {
    let server = Running::start(EACH).await;
    let report = |id: &str, state: &str| json!({"id": id, "to": "+15550100", "status": {"name": state}});
    let path = "/backends/demo/status";
    let both = results(&[report("r1", "DELIVERED"), report("r2", "REJECTED")]);
    let stored = vec![vec!["r1 delivered".to_owned(), "r2 failed".to_owned()]];
    assert_eq!(posted(&server, path, &both).await, (200, "OK".to_owned(), stored));
    let one_is_none = results(&[report("r1", "DELIVERED"), json!({"id": "r2"})]);
    let taken = vec![vec!["r1 delivered".to_owned()]];
    assert_eq!(posted(&server, path, &one_is_none).await, (200, "OK".to_owned(), taken));
    let (status, body, calls) = posted(&server, path, &results(&[json!({"id": "r2"})])).await;
    assert_eq!((status, calls.len()), (400, 0));
    assert_eq!(body, "form failed to validate\nresults[0].status.name: This field is required.\n");
    server.broker.answer(|_| Err(BrokerError::Closed));
    assert_eq!(posted(&server, path, &both).await.0, 503);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_index_into_a_longer_list_is_refused_and_counted() {
    let server = Running::start(
        r#"
        [backends.fixed]
        type = "http"
        [backends.fixed.receive]
        params = { identity = "/results/0/from", text = "/results/0/text", picture = "/results/0/media/0/url" }
        fields = { picture = {} }
        [backends.fixed.status]
        params = { external_id = "/results/0/id", state = "/results/0/state" }
        states = { ok = "delivered" }
        "#,
    )
    .await;
    let refused = "postern_ingress_refused_total{backend=\"fixed\",reason=\"items\"}";
    assert_eq!(server.metric(refused), Some(0.0));
    let message = json!({"from": "1", "text": "hi", "media": [{"url": "p"}, {"url": "q"}]});
    let report = json!({"id": "r", "state": "ok"});
    for (path, one, key, stored) in [
        ("/backends/fixed", &message, "receive.each", "hi"),
        ("/backends/fixed/status", &report, "status.each", "r delivered"),
    ] {
        let taken = (200, "OK".to_owned(), vec![vec![stored.to_owned()]]);
        assert_eq!(posted(&server, path, &results(std::slice::from_ref(one))).await, taken);
        let why =
            format!("form failed to validate\nresults has 2 items, but only item 0 is read: set {key}\n");
        let two = results(&[one.clone(), one.clone()]);
        assert_eq!(posted(&server, path, &two).await, (400, why, vec![]));
    }
    assert_eq!(server.metric(refused), Some(2.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_may_have_more_parameters_than_one_message_and_not_any_number_of_bytes() {
    let server = Running::start(
        r#"
        [backends.demo]
        type = "http"
        [backends.demo.receive]
        each = "/results"
        params = { identity = "/from", text = "/text", more = "^/more" }
        fields = { more = {} }
        "#,
    )
    .await;
    let items = vec![json!({"from": "+15550100", "text": "hi", "a": [1, 2, 3]}); 1000];
    let (status, _, calls) = posted(&server, "/backends/demo", &json!({"results": items})).await;
    assert_eq!((status, calls.len(), calls[0].len()), (200, 1, 1000));
    // A field that is read from the whole body is stored with each message.
    let body = json!({"more": "x".repeat(60_000), "results": items});
    let (status, why, calls) = posted(&server, "/backends/demo", &body).await;
    assert_eq!((status, calls.len()), (413, 0), "{why}");
}
