//! What follows an attempt.

use super::*;
use postern_broker::HeaderValue;
use postern_shared::message::Inbound;
use serde_json::{Value, json};
use std::time::Duration;

fn inbound(fields: &Value) -> Inbound {
    let body = json!({
        "id": MessageId::new(), "backend": "demo", "identity": "+1 555", "text": "a&b é",
        "fields": fields, "received_at": "2026-01-01T00:00:00Z",
    });
    Inbound::from_json(body.to_string().as_bytes()).unwrap()
}

fn after(original: &Envelope, attempt: u32, disposition: &Disposition) -> Option<(Address, Envelope)> {
    next(original, &QueueName::inbound(), &"demo".parse().unwrap(), attempt, disposition)
}

#[test]
fn the_attempt_is_counted_in_a_header() {
    let plain = Envelope::from(&inbound(&json!({})));
    for (header, expected) in [
        (None, 1),
        (Some(HeaderValue::Integer(3)), 3),
        (Some(HeaderValue::Integer(0)), 1),
        (Some(HeaderValue::Integer(-4)), 1),
        (Some(HeaderValue::Integer(i64::MAX)), 1),
        (Some(HeaderValue::Text("3".to_owned())), 1),
    ] {
        let envelope = match header {
            Some(value) => plain.clone().with(header::ATTEMPT, value),
            None => plain.clone(),
        };
        assert_eq!(attempt_of(&envelope), expected);
    }
}

#[test]
fn a_retry_is_the_message_as_it_was_with_foreign_headers_and_the_next_attempt() {
    let original = Envelope::from(&inbound(&json!({})))
        .with(header::ATTEMPT, 2)
        .with(header::TRACEPARENT, "00-a-b-01")
        .with("x-theirs", "kept")
        .with("x-delivery-count", 1)
        .with(header::REASON, "of an earlier death");
    let delay = Duration::from_secs(5);
    let disposition = Disposition::Retry { delay, failure: Failure::transient("http_503", "") };
    let (address, retry) = after(&original, 2, &disposition).unwrap();
    assert_eq!(address, Address::Later { queue: QueueName::inbound(), delay });
    assert_eq!(
        (&retry.body, &retry.message_id, &retry.kind),
        (&original.body, &original.message_id, &original.kind)
    );
    let headers: Vec<_> = retry.headers.keys().map(String::as_str).collect();
    assert_eq!(headers, [header::TRACEPARENT, header::ATTEMPT, "x-theirs"]);
    assert_eq!(attempt_of(&retry), 3);
    let disposition = Disposition::Deferred { delay, times: 0, failure: Failure::transient("connect", "") };
    let (address, deferred) = after(&original, 2, &disposition).unwrap();
    assert_eq!(address, Address::Later { queue: QueueName::inbound(), delay });
    assert_eq!(attempt_of(&deferred), 2, "the same attempt");
}

#[test]
fn a_dead_letter_says_why_and_would_begin_anew() {
    let original = Envelope::from(&inbound(&json!({}))).with(header::ATTEMPT, 6).with("x-theirs", "kept");
    let disposition = Disposition::Dead(Failure::permanent("http_400", "no such thing"));
    let (address, letter) = after(&original, 6, &disposition).unwrap();
    assert_eq!(address, Address::Dead("demo".parse().unwrap()));
    assert_eq!(letter.body, original.body);
    assert_eq!(letter.text_header(header::REASON), Some("http_400: no such thing"));
    assert_eq!(letter.text_header(header::CLASS), Some("permanent"));
    assert_eq!(letter.text_header(header::QUEUE), Some("postern.inbound"));
    assert_eq!(letter.integer_header(header::ATTEMPTS), Some(6));
    assert_eq!(letter.text_header("x-theirs"), Some("kept"));
    assert_eq!(attempt_of(&letter), 1);
}

#[test]
fn after_success_there_is_nothing_to_publish() {
    let original = Envelope::from(&inbound(&json!({})));
    assert_eq!(after(&original, 1, &Disposition::Sent(crate::outcome::Sent::without_id())), None);
}
