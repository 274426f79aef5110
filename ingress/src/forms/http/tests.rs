//! What the form `http` makes of requests.

use super::*;
use crate::forms::{ParameterLimits, RawRequest};
use actix_web::http::{
    Method,
    header::{CONTENT_TYPE, HeaderMap, HeaderValue},
};
use bytes::Bytes;
use serde_json::json;

const LIMITS: ParameterLimits = ParameterLimits { max_fields: 100, max_key: 100, max_value: 100_000 };

/// What a POST of `body` becomes: the message as JSON, or the lines of the errors.
fn clean(receive: Value, content_type: &'static str, body: &str) -> Result<Value, Vec<String>> {
    let receive: Receive = serde_json::from_value(receive).unwrap();
    assert_eq!(receive.problems(), []);
    let form = HttpForm::new(&receive).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let body = Bytes::copy_from_slice(body.as_bytes());
    let raw = RawRequest { method: &Method::POST, headers: &headers, query: "", body: &body };
    let request =
        Request::parse(raw, None, receive.charset.map(|charset| charset.0), &LIMITS).map_err(|_| vec![])?;
    match form.clean(&request) {
        Ok(cleaned) => Ok(json!([
            cleaned.identity.as_str(),
            cleaned.text,
            cleaned.fields,
            cleaned.external_id,
            cleaned.received_at.map(|at| at.to_string()),
        ])),
        Err(errors) => Err(errors.to_string().lines().skip(1).map(str::to_owned).collect()),
    }
}

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";

#[test]
fn a_valid_request_becomes_a_message_in_our_names() {
    let extra = json!({"fields": {"extra": {"type": "integer", "required": true}, "lang": {"default": "en"}, "seen": {}}});
    let renamed = json!({"params": {"identity": ["from", "sender"], "text": "body", "external_id": "sid", "received_at": "when"}});
    let pointers = json!({"params": {"identity": "/message/from/id", "text": "/message/text"}});
    let latin = json!({"charset": "iso-8859-1"});
    let ussd = json!({"fields": {"text": {"type": "string", "required": false}}});
    for (receive, kind, body, expected) in [
        (json!({}), FORM, "identity=+1+&text=%20ping%0A", json!(["1", "ping", {}, null, null])),
        (json!({}), FORM, "identity=1&text=a&unknown=z", json!(["1", "a", {}, null, null])),
        (json!({}), FORM, "identity=1&text=a&identity=2", json!(["2", "a", {}, null, null])),
        (json!({}), FORM, "identity=1&text=a&external_id=", json!(["1", "a", {}, null, null])),
        (json!({}), FORM, "identity=1&text=a%00b", json!(["1", "ab", {}, null, null])),
        (json!({}), FORM, "identity=1&text=a&received_at=x", json!(["1", "a", {}, null, null])),
        (json!({}), FORM, "identity=1&text=a&received_at=0", json!(["1", "a", {}, null, null])),
        (
            json!({}),
            FORM,
            "identity=1&text=a&received_at=0001-01-01T00:00:00Z",
            json!(["1", "a", {}, null, null]),
        ),
        (
            json!({}),
            JSON,
            r#"{"identity": "1", "text": "a", "received_at": {"seconds": 7}}"#,
            json!(["1", "a", {}, null, null]),
        ),
        (
            json!({"fields": {"seen": {"type": "datetime"}}}),
            FORM,
            "identity=1&text=a&seen=x&received_at=1795366800",
            json!(["1", "a", {}, null, "2026-11-22T17:00:00Z"]),
        ),
        (
            extra.clone(),
            FORM,
            "identity=1&text=a&extra=7",
            json!(["1", "a", {"extra": 7, "lang": "en"}, null, null]),
        ),
        (
            extra,
            FORM,
            "identity=1&text=a&extra=7&lang=sw&seen=x",
            json!(["1", "a", {"extra": 7, "lang": "sw", "seen": "x"}, null, null]),
        ),
        (
            renamed.clone(),
            FORM,
            "sender=1&body=a&sid=SM1&when=2026-11-22T17:00:00.1239Z",
            json!(["1", "a", {}, "SM1", "2026-11-22T17:00:00.123Z"]),
        ),
        (
            renamed,
            JSON,
            r#"{"from": 15551234567, "body": true}"#,
            json!(["15551234567", "true", {}, null, null]),
        ),
        (
            pointers,
            JSON,
            r#"{"message": {"from": {"id": 7}, "text": "hi"}}"#,
            json!(["7", "hi", {}, null, null]),
        ),
        (latin, FORM, "identity=1&text=%E9", json!(["1", "é", {}, null, null])),
        (ussd.clone(), JSON, r#"{"identity": "1", "text": null}"#, json!(["1", "", {}, null, null])),
        (ussd, FORM, "identity=1&text=+", json!(["1", "", {}, null, null])),
    ] {
        assert_eq!(clean(receive.clone(), kind, body), Ok(expected), "{receive} {body}");
    }
}

#[test]
fn every_error_names_the_requests_own_parameter() {
    let required = "This field is required.";
    let null = "Null characters are not allowed.";
    let renamed = json!({"params": {"identity": ["from", "sender"], "text": "body"}});
    let pointers = json!({"params": {"identity": "/message/from", "text": "/message/text"}});
    let optional = json!({"fields": {"identity": {"required": false}}});
    let long = format!("identity={}&text=a", "1".repeat(257));
    for (receive, kind, body, expected) in [
        (json!({}), FORM, "", vec![format!("identity: {required}"), format!("text: {required}")]),
        (
            json!({}),
            FORM,
            "identity=+&text=%09",
            vec![format!("identity: {required}"), format!("text: {required}")],
        ),
        (
            json!({}),
            FORM,
            "identity=1%00&text=%00",
            vec![format!("identity: {null}"), format!("text: {required}")],
        ),
        (json!({}), FORM, "identity=1%07&text=a", vec!["identity: Enter a valid value.".into()]),
        (
            json!({}),
            FORM,
            &long,
            vec!["identity: Ensure this value has at most 256 characters (it has 257).".into()],
        ),
        (
            json!({"fields": {"received_at": {"type": "datetime", "required": true}}}),
            FORM,
            "identity=1&text=a&received_at=x",
            vec!["received_at: Enter a valid date/time.".into()],
        ),
        (renamed.clone(), FORM, "body=a", vec![format!("from: {required}")]),
        (renamed, FORM, "sender=&body=a", vec![format!("sender: {required}")]),
        (
            pointers.clone(),
            JSON,
            r#"{"message": {"from": []}}"#,
            vec!["/message/from: Enter a valid value.".into(), format!("/message/text: {required}")],
        ),
        (
            pointers,
            JSON,
            "[]",
            vec![format!("/message/from: {required}"), format!("/message/text: {required}")],
        ),
        (optional, FORM, "text=a", vec![format!("identity: {required}")]),
    ] {
        assert_eq!(clean(receive.clone(), kind, body), Err(expected), "{receive} {body}");
    }
}

#[test]
fn a_declaration_that_cannot_work_names_its_key() {
    let receive: Receive = serde_json::from_value(json!({"fields": {
        "a": {"type": "integer", "default": "x"},
        "b": {"type": "phone", "region": "nowhere"},
        "received_at": {"type": "string"},
    }}))
    .unwrap();
    let keys: Vec<_> = HttpForm::new(&receive).unwrap_err().into_iter().map(|(key, _)| key).collect();
    assert_eq!(
        keys,
        ["receive.fields.a.default", "receive.fields.b.region", "receive.fields.received_at.type"]
    );
}

#[test]
fn media_are_a_list_in_the_fields() {
    let numbered = json!({"media": [{"url": "url0", "type": "type0"}, {"url": "url1", "type": "type1"}]});
    let listed = json!({
        "params": {"identity": "/from", "text": "/text"},
        "media": [{"each": "/files/*/parts", "url": ["/big", "/small"], "name": "name"}, {"id": "/photo/id"}],
    });
    for (receive, kind, body, media) in [
        (
            &numbered,
            FORM,
            "identity=1&text=a&url0=https://h/0&type0=image/png&url1=+&type1=x",
            json!([{"url": "https://h/0", "type": "image/png"}]),
        ),
        (&numbered, FORM, "identity=1&text=a&type0=image/png", json!(null)),
        (
            &listed,
            JSON,
            r#"{"from": 1, "text": "a", "photo": {"id": 7}, "files": [
                {"parts": [{"small": "s1", "name": "n1"}, {"small": "s2", "big": "b2"}, 9]}, {"parts": {"small": "s3"}}
            ]}"#,
            json!([{"url": "s1", "name": "n1"}, {"url": "b2"}, {"url": "s3"}, {"id": "7"}]),
        ),
        (&listed, JSON, r#"{"from": 1, "text": "a", "files": [{"parts": "none"}]}"#, json!(null)),
    ] {
        let cleaned = clean(receive.clone(), kind, body).unwrap();
        assert_eq!(cleaned[2].get("media").unwrap_or(&Value::Null), &media, "{body}");
    }
}
