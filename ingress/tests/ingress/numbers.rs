//! Telephone numbers and ids: as numbers in JSON wherever a request brings them, and written in several ways.

use crate::{client, server::Running};
use postern_shared::message::{Outbound, Report};
use serde_json::json;

const CONFIG: &str = r#"
    [ingress]
    dedupe_window = 0
    [backends.demo]
    type = "http"
    send = { url = "http://127.0.0.1:9/send" }
    [backends.demo.receive.params]
    identity = "/from"
    text = "/text"
    external_id = "/id"
    [backends.demo.receive.fields]
    age = { type = "integer" }
    [backends.demo.status]
    params = { identity = "/to", external_id = "/id", state = "/state", code = "/code" }
    states = { "1" = "delivered" }
    [backends.vumi]
    type = "vumi"
    settings = { sendsms_url = "http://127.0.0.1:9/send" }
"#;
const NUMBERS: [(&str, &str); 6] = [
    ("1.1e10", "11000000000"),
    ("15550100.0", "15550100"),
    ("15550100", "15550100"),
    ("4831666765594842123456", "4831666765594842123456"),
    ("18446744073709551616", "18446744073709551616"),
    ("1.5", "1.5"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_them_as_written() {
    let server = Running::start(CONFIG).await;
    for (number, expected) in NUMBERS {
        let body = format!(r#"{{"from":{number},"text":{number},"id":{number},"age":7.0,"unread":1e999}}"#);
        let answer = server.post("/backends/demo", "application/json", body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{number}: {}", answer.body);
        let [message] = &server.inbound()[..] else { panic!("one message") };
        let external_id = message.external_id.as_deref();
        assert_eq!((message.identity.as_str(), message.text.as_str()), (expected, expected));
        assert_eq!((external_id, &message.fields["age"]), (Some(expected), &json!(7)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_has_a_delivery_report() {
    let server = Running::start(CONFIG).await;
    for (number, expected) in NUMBERS {
        let body = format!(r#"{{"to":{number},"id":{number},"state":1.0,"code":7}}"#);
        let answer = server.post("/backends/demo/status", "application/json", body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{number}: {}", answer.body);
        let [(_, envelope)] = &server.broker.take()[..] else { panic!("one report") };
        let report = Report::from_json(&envelope.body).unwrap();
        let recipient = &report.recipients[0];
        assert_eq!(recipient.identity.as_ref().unwrap().as_str(), expected);
        assert_eq!(recipient.external_id.as_deref(), Some(expected));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn so_has_vumis_message() {
    let server = Running::start(CONFIG).await;
    for (number, expected) in NUMBERS {
        let body = format!(
            r#"{{"message_id":{number},"from_addr":{number},"to_addr":7,"content":"x","transport_name":"t","transport_type":"sms"}}"#
        );
        let answer = server.post("/backends/vumi", "application/json", body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{number}: {}", answer.body);
        let [message] = &server.inbound()[..] else { panic!("one message") };
        assert_eq!((message.identity.as_str(), message.external_id.as_deref()), (expected, Some(expected)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applications_context_keeps_them() {
    let server = Running::start(CONFIG).await;
    let body = r#"{"backend":"demo","to":"1","text":"x","context":{"id":4831666765594842123456,"n":[1.1e10,0.5,7]}}"#;
    let request =
        client::written("POST", "/v1/messages", &[("Content-Type", "application/json")], body.as_bytes());
    assert_eq!(client::send(server.api, &request).await.status, 202);
    let [(_, envelope)] = &server.broker.take()[..] else { panic!("one message") };
    let context = json!(Outbound::from_json(&envelope.body).unwrap().context);
    assert_eq!(context, json!({"id": "4831666765594842123456", "n": [11_000_000_000_u64, 0.5, 7]}));
}

/// A number is refused at any length. In the context, it is kept.
#[tokio::test(flavor = "multi_thread")]
async fn an_application_writes_no_number_where_a_text_belongs() {
    let server = Running::start(CONFIG).await;
    for number in ["7", "4831666765594842123456", "1.1e10", "1e400", "-0"] {
        for (wrong, pointer) in [
            (r#""backend":N,"to":"1","text":"x""#, "#/backend"),
            (r#""backend":"demo","to":N,"text":"x""#, "#/to"),
            (r#""backend":"demo","to":["1",N],"text":"x""#, "#/to/1"),
            (r#""backend":"demo","identities":[N],"text":"x""#, "#/identities/0"),
            (r#""backend":"demo","to":"1","text":N"#, "#/text"),
            (r#""backend":"demo","to":"1","text":"x","priority":N"#, "#/priority"),
            (r#""backend":"demo","to":"1","text":"x","expires_at":N"#, "#/expires_at"),
        ] {
            let body = format!(r#"{{{wrong},"context":{{"id":N}}}}"#).replace('N', number);
            let headers = [("Content-Type", "application/json")];
            let request = client::written("POST", "/v1/messages", &headers, body.as_bytes());
            let answer = client::send(server.api, &request).await;
            assert_eq!(answer.status, 422, "{body}: {}", answer.body);
            let errors = answer.json()["errors"].clone();
            assert_eq!(
                (errors.as_array().unwrap().len(), &errors[0]["pointer"]),
                (1, &json!(pointer)),
                "{body}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sendsms_takes_two_ways_to_write_a_number_for_one_person() {
    let config = r#"
        [compat.kannel]
        users = [{ username = "u", password = "hush-hush-hush-hush", backend = "demo" }]
        [backends.demo]
        type = "http"
        region = "KE"
        send = { url = "http://127.0.0.1:9/send" }
    "#;
    let server = Running::start(config).await;
    let to = "0712345678+%2B254712345678+0712345679+254712345678";
    let path = format!("/cgi-bin/sendsms?username=u&password=hush-hush-hush-hush&to={to}&text=a");
    assert_eq!(server.get(&path).await.status, 202);
    let sent: Vec<_> = server.outbound().into_iter().flat_map(|message| message.identities).collect();
    let numbers: Vec<_> = sent.iter().map(|identity| identity.as_str()).collect();
    assert_eq!(numbers, ["+254712345678", "+254712345679"]);
}
