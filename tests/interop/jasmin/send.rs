//! Messages from the API through Jasmin to a telephone, and the delivery reports back.

use super::{Jasmin, KEY, Submitted, around_jasmin};
use crate::reports::Reports;
use postern_tests::Pair;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The GSM alphabet with its extension table except the escape: every character that Jasmin might change.
const GSM: &str =
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCXYZÄÖÑÜ§¿abcxyzäöñüà^{}\\[~]|€";

async fn post(pair: &Pair, backend: &str, to: &str, text: &str) {
    let message = json!({"backend": backend, "to": to, "text": text});
    let request = pair.ingress.request(Method::POST, "/v1/messages").bearer_auth(KEY).json(&message);
    let reply = pair.ingress.fetch(request).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
}

/// The text as a phone shows it, without the header of a part.
fn text(submitted: &Submitted) -> String {
    let octets: Vec<u8> = (0..submitted.hex.len() / 2)
        .map(|at| u8::from_str_radix(&submitted.hex[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let octets = &octets[if submitted.udh { usize::from(octets[0]) + 1 } else { 0 }..];
    match submitted.coding {
        0 => postern_shared::text::gsm::decode(octets),
        8 => {
            let units = octets.chunks(2).map(|two| u16::from_be_bytes([two[0], two[1]]));
            String::from_utf16(&units.collect::<Vec<_>>()).unwrap()
        }
        other => panic!("data coding {other}"),
    }
}

#[tokio::test]
async fn what_the_api_sends_is_submitted_exactly_and_its_reports_come_back() {
    let (pair, mut jasmin) = around_jasmin().await;
    for (number, sent) in
        [("+15550101", GSM), ("+15550111", "100% of 1+1 & a=b?"), ("+15550121", "Привет, all well 😀")]
    {
        post(&pair, "jasmin", number, sent).await;
        let submitted = jasmin.submits(1).await.remove(0);
        assert_eq!((&*submitted.from, &*submitted.to, &*text(&submitted)), ("1000", number, sent));
    }
    let mut reports = Reports::of(&pair.tap);
    for (number, state) in [
        ("+15550101", "delivered"),
        ("+15550102", "undelivered"),
        ("+15550103", "expired"),
        ("+15550104", "undelivered"),
        ("+15550105", "sent"),
        ("+15550106", "unknown"),
        ("+15550100", "failed"),
    ] {
        if state != "delivered" {
            post(&pair, "jasmin", number, "hi").await;
        }
        reports.until(state, &[number]).await;
    }
    assert_eq!(reports.states("+15550101"), BTreeSet::from(["sent", "delivered"]));
    assert_eq!(reports.reason("+15550102"), json!(["permanent", "UNDELIV"]));
    assert_eq!(reports.reason("+15550104"), json!(["permanent", "REJECTD"]));
    assert_eq!(reports.reason("+15550100"), json!(["permanent", "ESME_RINVDSTADR"]));
    let ids: BTreeSet<_> = reports.messages();
    assert_eq!(ids.len(), 9, "the reports name our messages: {ids:?}");
    jasmin.was_acknowledged();
    pair.ends_silent(&["+15550101", "Привет", "100% of", "hush"]).await;
}

#[tokio::test]
async fn a_long_text_comes_in_parts() {
    let (pair, mut jasmin) = around_jasmin().await;
    for (number, sent, parts) in [
        ("+15550101", "one é and so on; ".repeat(20), 3),
        ("+15550102", "Привет 😀 ".repeat(15), 3),
        // Longer than Jasmin sends one message: two messages.
        ("+15550103", "and then there was more of it, much more. ".repeat(20), 6),
    ] {
        post(&pair, "jasmin", number, &sent).await;
        let submitted = jasmin.submits(parts).await;
        assert_eq!(submitted.iter().map(text).collect::<String>(), sent);
    }
}

#[tokio::test]
async fn a_wrong_password_is_a_matter_of_the_configuration() {
    let (pair, _jasmin) = around_jasmin().await;
    post(&pair, "mistyped", "+15550001", "hello").await;
    let dead = pair.tap.take("postern.dead").await;
    assert_eq!(dead.headers["x-postern-class"], "config");
    let reason = dead.headers["x-postern-reason"].clone();
    assert_eq!(reason, "http_403: Error \"Authentication failure for username:[REDACTED]\"");
}

/// The answers of Jasmin in `tests/fixtures/jasmin` are those of a real Jasmin.
#[tokio::test]
async fn the_answers_in_the_fixtures_are_jasmins_own() {
    let jasmin = Jasmin::start("http://127.0.0.1:9").await;
    let limited = [("username", "limited"), ("dlr-level", "3"), ("dlr-url", "http://127.0.0.1:9")];
    let mut answers = Vec::new();
    for parameters in [
        &[][..],
        &[("password", "wrong")],
        &limited,
        &[("username", "slow")],
        &[("username", "slow")],
        &[("username", "poor")],
        &[("to", "+1999")],
        &[("to", "+1777")],
    ] {
        answers.push(jasmin.send(parameters).await);
    }
    // A message id differs each time, and a user's name by user.
    let general = |(status, body): (u16, String)| {
        let body = body.replace("limited", "postern");
        let success = body.starts_with("Success \"") && body.len() == "Success \"\"".len() + 36;
        (status, if success { "Success".to_owned() } else { body })
    };
    let answers: Vec<_> = answers.into_iter().map(general).collect();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/jasmin/send.toml");
    let table: Value = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for row in table["row"].as_array().unwrap() {
        let status = u16::try_from(row["answer"]["status"].as_u64().unwrap()).unwrap();
        let answer = general((status, row["answer"]["body"].as_str().unwrap().to_owned()));
        // 500 is its answer when it cannot queue.
        assert!(
            status == 500 || answers.contains(&answer),
            "{}: {answer:?}; they are {answers:#?}",
            row["name"]
        );
    }
}
