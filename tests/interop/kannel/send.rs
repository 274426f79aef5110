//! Messages from the API through Kannel to a telephone, and the delivery reports back.

use super::{KEY, Kannel, around_kannel, delivery, urldecoded, utf16};
use crate::reports::Reports;
use postern_tests::Pair;
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn post(pair: &Pair, backend: &str, identities: &[&str], text: &str) {
    let message = json!({"backend": backend, "identities": identities, "text": text});
    let request = pair.ingress.request(Method::POST, "/v1/messages").bearer_auth(KEY).json(&message);
    let reply = pair.ingress.fetch(request).await;
    assert_eq!(reply.status, 202, "{}", reply.text);
}

#[tokio::test]
async fn what_the_api_sends_is_delivered_exactly_and_its_report_comes_back() {
    let (pair, mut kannel) = around_kannel("").await;
    kannel.connect().await;
    let texts = ["100% of 1+1 & a=b?", "café", "price: 5 € [net]", "Привет", "all well 😀"];
    let (mut numbers, mut wanted) = (Vec::new(), Vec::new());
    for (backend, from) in [("kannel", "13013"), ("bare", "2000")] {
        for text in texts {
            let number = format!("+1555{:04}", wanted.len());
            post(&pair, backend, &[&number], text).await;
            wanted.push(delivery(from, &number, text));
            numbers.push(number);
        }
    }
    let mut delivered = kannel.delivers(wanted.len()).await;
    delivered.sort();
    wanted.sort();
    assert_eq!(delivered, wanted);
    let numbers: Vec<_> = numbers.iter().map(String::as_str).collect();
    let mut reports = Reports::of(&pair.tap);
    reports.until("delivered", &numbers).await;
    reports.until("sent", &numbers).await;
    for number in numbers {
        assert_eq!(reports.states(number), BTreeSet::from(["delivered", "sent"]), "{number}");
    }
    kannel.delivered_no_more().await;
    pair.ends_silent(&["+15550000", "Привет", "price: 5 €", "hush"]).await;
}

#[tokio::test]
async fn a_message_to_two_reaches_two_and_a_long_one_comes_in_parts() {
    let (pair, mut kannel) = around_kannel("").await;
    kannel.connect().await;
    let two = ["+15550001", "+15550002"];
    post(&pair, "kannel", &two, "hello").await;
    let mut delivered = kannel.delivers(2).await;
    delivered.sort();
    assert_eq!(delivered, two.map(|number| delivery("13013", number, "hello")));
    let mut reports = Reports::of(&pair.tap);
    reports.until("delivered", &two).await;
    assert_eq!(reports.messages().len(), 1, "the reports name the message: {:?}", reports.seen);
    let (long, wide) = ("one é and so on; ".repeat(20), "Привет 😀 ".repeat(15));
    for (number, text) in [("+15550003", &long), ("+15550004", &wide)] {
        post(&pair, "kannel", &[number], text).await;
        let parts = kannel.delivers(3).await;
        let mut whole = Vec::new();
        for (at, (_, to, part)) in parts.iter().enumerate() {
            // GSM 03.40, 9.2.3.24.1: five bytes, the last two of which are the number of parts and this part's
            // number.
            let header = format!("%03%0{} data ", at + 1);
            let (_, part) = part.split_once(&header).unwrap_or_else(|| panic!("{header}? {parts:?}"));
            assert_eq!(to, number);
            whole.extend(urldecoded(part));
        }
        let arrived = if text == &wide { utf16(&whole) } else { String::from_utf8(whole).unwrap() };
        assert_eq!(&arrived, text);
        reports.until("delivered", &[number]).await;
    }
}

#[tokio::test]
async fn of_those_that_kannel_refuses_each_is_refused_alone() {
    // The two ways in which smsbox answers: after the gateway's answer, or at once.
    for more in ["", "immediate-sendsms-reply = true"] {
        let (pair, mut kannel) = around_kannel(more).await;
        kannel.connect().await;
        // The first is not a number, so Kannel is not asked. No connection of this Kannel accepts the second.
        let identities = ["oops", "990007", "+15550001"];
        pair.tap.send(&json!({"backend": "kannel", "identities": identities, "text": "hello"})).await;
        assert_eq!(kannel.delivers(1).await, [delivery("13013", "+15550001", "hello")]);
        let mut reports = Reports::of(&pair.tap);
        reports.until("delivered", &["+15550001"]).await;
        reports.until("failed", &["oops", "990007"]).await;
        assert_eq!(reports.reason("oops"), json!(["permanent", "invalid_number"]), "{:?}", reports.seen);
        assert_eq!(reports.reason("+15550001"), Value::Null, "{:?}", reports.seen);
        kannel.delivered_no_more().await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_a_matter_of_the_configuration() {
    let (pair, _kannel) = around_kannel("").await;
    post(&pair, "mistyped", &["+15550001"], "hello").await;
    let dead = pair.tap.take("postern.dead").await;
    assert_eq!(dead.headers["x-postern-class"], "config");
    assert_eq!(dead.headers["x-postern-reason"], "http_403: Authorization failed for sendsms");
}

#[tokio::test]
async fn what_kannel_queues_while_the_network_is_away_is_sent_and_later_delivered() {
    let (pair, mut kannel) = around_kannel("").await;
    post(&pair, "kannel", &["+15550001"], "later").await;
    let mut reports = Reports::of(&pair.tap);
    reports.until("sent", &["+15550001"]).await;
    assert_eq!(reports.states("+15550001"), BTreeSet::from(["sent"]));
    kannel.connect().await;
    assert_eq!(kannel.delivers(1).await, [delivery("13013", "+15550001", "later")]);
    reports.until("delivered", &["+15550001"]).await;
}

/// The answers of Kannel in `tests/fixtures/kannel` are those of a real Kannel.
#[tokio::test]
async fn the_answers_in_the_fixtures_are_kannels_own() {
    let mut kannel = Kannel::start("http://127.0.0.1:9", "").await;
    let mut answers = vec![kannel.sendsms(&[("to", "1"), ("text", "a")]).await];
    // Without the network messages wait, but only 50 of them.
    let many: Vec<String> = (0..60).map(|number| number.to_string()).collect();
    kannel.sendsms(&[("to", &many.join(" ")), ("text", "a")]).await;
    answers.push(kannel.sendsms(&[("to", "1"), ("text", "a")]).await);
    kannel.connect().await;
    kannel.delivers(50).await;
    for (to, password) in [("1", "hush"), ("1", "wrong"), ("990007", "hush"), ("oops", "hush")] {
        answers.push(kannel.sendsms(&[("to", to), ("text", "a"), ("password", password)]).await);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/kannel/send.toml");
    let table: Value = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    for row in table["row"].as_array().unwrap() {
        let answer = &row["answer"];
        let known =
            answers.iter().any(|(status, body)| answer["status"] == *status && answer["body"] == **body);
        assert!(known, "{}: no answer of Kannel's: {answer}; they are {answers:#?}", row["name"]);
    }
}

/// The reason why `shared/providers/kannel.toml` makes one request for each recipient.
#[tokio::test]
async fn a_request_for_several_is_answered_for_the_first_of_them() {
    let mut kannel = Kannel::start("http://127.0.0.1:9", "").await;
    kannel.connect().await;
    let accepted = (202, "0: Accepted for delivery".to_owned());
    for (to, answer) in [
        ("1 2", accepted.clone()),
        ("1 oops", accepted.clone()),
        ("1 990007", accepted),
        ("990007 1", (403, "Not routable. Do not try again.".to_owned())),
    ] {
        assert_eq!(kannel.sendsms(&[("to", to), ("text", "several")]).await, answer, "{to}");
        kannel.delivers(if to == "1 2" { 2 } else { 1 }).await;
    }
    kannel.delivered_no_more().await;
}
