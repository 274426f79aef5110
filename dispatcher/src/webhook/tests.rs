//! The parameters of a form.

use super::*;
use serde_json::json;

fn inbound(fields: &Value) -> Inbound {
    let body = json!({
        "id": MessageId::new(), "backend": "demo", "identity": "+1 555", "text": "a&b é",
        "fields": fields, "received_at": "2026-01-01T00:00:00Z",
    });
    Inbound::from_json(body.to_string().as_bytes()).unwrap()
}

#[test]
fn a_form_is_identity_text_and_the_fields() {
    for (fields, expected) in [
        (json!({}), "identity=%2B1+555&text=a%26b+%C3%A9"),
        (
            json!({"age": 7, "ok": true, "name": "x y", "none": null, "all": ["a", 1], "deep": {"a": 1}}),
            "identity=%2B1+555&text=a%26b+%C3%A9&age=7&ok=true&name=x+y&all=a&all=1&deep=%7B%22a%22%3A1%7D",
        ),
        (json!({"identity": "other", "text": "other"}), "identity=%2B1+555&text=a%26b+%C3%A9"),
    ] {
        assert_eq!(form(&inbound(&fields)), expected);
    }
}
