//! One answer in, an outcome for each recipient out.

use super::*;
use serde_json::json;

fn results(table: Value) -> Results {
    serde_json::from_value(table).unwrap()
}

fn africa() -> Results {
    results(json!({
        "each": "/Recipients", "identity": "/number", "external_id": "/messageId",
        "success": { "at": "/statusCode", "is": ["101"] },
        "failures": [
            { "at": "/statusCode", "is": "403", "class": "permanent", "code": "invalid_number" },
            { "at": "/statusCode", "is": ["500", "501"], "class": "transient" },
        ],
    }))
}

/// The outcome of each of `identities` after an answer with `body`: the id, or the class and the code.
fn told(table: &Results, identities: &[&str], body: &str, complete: bool) -> Vec<String> {
    let identities: Vec<Identity> = identities.iter().map(|identity| identity.parse().unwrap()).collect();
    let answer = ProviderAnswer {
        status: 201,
        headers: reqwest::header::HeaderMap::new(),
        body: body.into(),
        complete,
    };
    let sent = Sent { http_status: Some(201), ..Sent::with_id("whole") };
    let failed = |(class, code), said: &str| Failure::new(class, code, said);
    let outcomes = outcomes(table, &sent, &answer, &identities, failed).into_each(identities.len());
    let told = outcomes.into_iter().map(|outcome| match outcome {
        Ok(sent) => sent.external_id.unwrap_or_default(),
        Err(failure) => format!("{} {}", failure.class.as_str(), failure.code),
    });
    told.collect()
}

/// An answer with a code and an id for each number.
fn answer(recipients: &[(&str, u16, &str)]) -> String {
    let all = recipients
        .iter()
        .map(|(number, code, id)| json!({"number": number, "statusCode": code, "messageId": id}));
    json!({"Recipients": all.collect::<Vec<_>>()}).to_string()
}

#[test]
fn each_recipient_has_the_outcome_of_its_own() {
    let all = ["+254711000001", "+254711000002", "+254711000003", "+254711000004", "+254711000005"];
    let body = answer(&[
        ("+254711000004", 999, "None"),
        ("+254711000001", 101, "AT1"),
        ("+254711000003", 501, "None"),
        ("+254711000002", 403, "None"),
    ]);
    assert_eq!(
        told(&africa(), &all, &body, true),
        ["AT1", "permanent invalid_number", "transient 501", "transient not_accepted", "unknown no_outcome"]
    );
    assert_eq!(told(&africa(), &all[..2], "OK", true), ["unknown no_outcome"; 2]);
    assert_eq!(told(&africa(), &all[..2], r#"{"Recipients": [{"numb"#, false), ["unknown answer_cut"; 2]);
    assert_eq!(told(&africa(), &all[..2], r#"{"Recipients": "none"}"#, true), ["unknown no_outcome"; 2]);
}

#[test]
fn a_number_is_known_again_however_it_is_written() {
    for (asked, answered) in [
        ("+254711000001", "254711000001"),
        ("254711000001", "+254 711 000-001"),
        ("00254711000001", "+254711000001"),
        ("0711000001", "+254711000001"),
        ("+254711000001", "0711000001"),
        ("whatsapp:+254711000001", "whatsapp:+254711000001"),
        ("CLINIC", " CLINIC "),
    ] {
        let body = answer(&[(answered, 101, "AT1"), ("+254722000002", 101, "AT2")]);
        assert_eq!(told(&africa(), &[asked, "+254722000002"], &body, true), ["AT1", "AT2"], "{asked}");
        // A single recipient needs no name.
        assert_eq!(told(&africa(), &[asked], &answer(&[("x", 101, "AT1")]), true), ["AT1"]);
    }
}

#[test]
fn what_fits_two_fits_none() {
    let both = ["+254711000001", "+255711000001"];
    let body = answer(&[("0711000001", 101, "AT1")]);
    assert_eq!(told(&africa(), &both, &body, true), ["unknown no_outcome"; 2]);
    let body = answer(&[("+254711000001", 101, "AT1"), ("+255711000001", 101, "AT2")]);
    let asked = ["0711000001", "+254733000003"];
    assert_eq!(told(&africa(), &asked, &body, true), ["unknown no_outcome"; 2]);
    // Six digits say too little.
    let body = answer(&[("254110001", 101, "AT1")]);
    assert_eq!(told(&africa(), &["110001", "+254733000003"], &body, true), ["unknown no_outcome"; 2]);
}

#[test]
fn who_got_the_message_is_not_sent_it_again() {
    let twice = ["+254711000001", "+254722000002", "254711000001"];
    for (body, expected) in [
        // One answer for a number that was asked for twice.
        (answer(&[("+254711000001", 101, "AT1"), ("+254722000002", 101, "AT2")]), ["AT1", "AT2", "AT1"]),
        (
            answer(&[
                ("+254711000001", 101, "AT1"),
                ("+254722000002", 101, "AT2"),
                ("+254711000001", 501, "None"),
            ]),
            ["AT1", "AT2", "transient 501"],
        ),
        // One for each part of a text.
        (
            answer(&[
                ("+254722000002", 501, "None"),
                ("+254722000002", 101, "AT3"),
                ("+254711000001", 101, "AT1"),
            ]),
            ["AT1", "AT3", "AT1"],
        ),
    ] {
        assert_eq!(told(&africa(), &twice, &body, true), expected, "{body}");
    }
}

#[test]
fn a_list_in_the_order_of_the_request_needs_no_numbers() {
    let plivo = results(json!({"each": "/message_uuid", "external_id": ""}));
    let asked = ["+254711000001", "+254722000002"];
    assert_eq!(told(&plivo, &asked, r#"{"message_uuid": ["a", "b"]}"#, true), ["a", "b"]);
    assert_eq!(told(&plivo, &asked, r#"{"message_uuid": ["a"]}"#, true), ["unknown no_outcome"; 2]);
    // An item that is not a failure is a success, under the id of the whole answer.
    let named = results(json!({
        "each": "/messages", "identity": "\"to\":\"([0-9]+)\"",
        "failures": [{"at": "/ok", "is": "false", "class": "permanent", "code": "refused"}],
    }));
    let body = r#"{"messages": [{"to": 254722000002, "ok": false}, {"to": "254711000001", "ok": true}]}"#;
    assert_eq!(told(&named, &asked, body, true), ["whole", "unknown no_outcome"]);
    let body = r#"{"messages": [{"to": "254722000002", "ok": false}, {"to": "254711000001", "ok": true}]}"#;
    assert_eq!(told(&named, &asked, body, true), ["whole", "permanent refused"]);
}
