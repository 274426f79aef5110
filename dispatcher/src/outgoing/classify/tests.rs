//! A provider's answer in, an outcome out.

use super::*;
use postern_config::{Config, ProviderRegistry};
use reqwest::header::HeaderValue;

fn classifier(send: &str) -> Classifier {
    let text =
        format!("[backends.demo]\ntype = \"http\"\n[backends.demo.send]\nurl = \"http://h/\"\n{send}\n");
    let config = Config::parse("test", Some(&text), [], &ProviderRegistry::builtin()).unwrap();
    let backend = config.backends.values().next().unwrap();
    let table = backend.definition.connector.http().unwrap();
    Classifier {
        success: table.success.clone(),
        external_id: table.external_id.clone(),
        failures: table.failures.clone(),
        results: table.results.clone(),
        retry_after: table.retry_after.clone(),
        recipients: 1,
        redactor: Redactor::new(backend, table, None),
    }
}

fn told(send: &str, status: u16, body: &str) -> String {
    let answer = ProviderAnswer { status, headers: HeaderMap::new(), body: body.into(), complete: true };
    match classifier(send).classify(&answer, Timestamp::UNIX_EPOCH) {
        Ok(sent) => format!("sent {}", sent.external_id.as_deref().unwrap_or("-")),
        Err(failure) => format!("{} {}", failure.class.as_str(), failure.code),
    }
}

#[test]
fn the_status_decides() {
    for (status, expected) in [
        (200, "sent -"),
        (202, "sent -"),
        (204, "sent -"),
        (301, "config http_301"),
        (307, "config http_307"),
        (400, "permanent http_400"),
        (401, "config http_401"),
        (402, "permanent http_402"),
        (403, "config http_403"),
        (404, "config http_404"),
        (405, "config http_405"),
        (407, "config http_407"),
        (408, "transient http_408"),
        (410, "permanent http_410"),
        (413, "permanent http_413"),
        (422, "permanent http_422"),
        (425, "transient http_425"),
        (429, "throttled http_429"),
        (500, "transient http_500"),
        (501, "transient http_501"),
        (502, "transient http_502"),
        (503, "transient http_503"),
        (599, "transient http_599"),
    ] {
        assert_eq!(told("", status, ""), expected);
    }
}

#[test]
fn success_is_what_the_configuration_calls_so() {
    let only = "success = { status = [202, \"404\"], body = \"^0: \" }";
    for (status, body, expected) in [
        (202, "0: Accepted for delivery", "sent -"),
        (404, "0: well", "sent -"),
        (202, "3: Queued", "transient not_accepted"),
        (202, "", "transient not_accepted"),
        (200, "0: Accepted for delivery", "transient http_200"),
        (400, "0: ", "permanent http_400"),
    ] {
        assert_eq!(told(only, status, body), expected, "{status} {body}");
    }
}

#[test]
fn an_id_is_taken_where_it_is_and_missed_where_it_is_not() {
    for (place, body, expected) in [
        ("/id", r#"{"id":"SM1"}"#, "sent SM1"),
        ("/messages/0/id", r#"{"messages":[{"id":17}]}"#, "sent 17"),
        ("/id", r#"{"id":4831666765594842123456}"#, "sent 4831666765594842123456"),
        ("/id", r#"{"id":1.1e10,"rest":1e999}"#, "sent 11000000000"),
        ("/id", r#"{"id":15550100.0}"#, "sent 15550100"),
        ("/id", r#"{"id":"SM1","text":"hi \ud83d"}"#, "sent SM1"),
        ("/id", r#"{"id":null}"#, "sent -"),
        ("/id", "OK", "sent -"),
        ("Success \\\"(.*)\\\"", r#"Success "07033084""#, "sent 07033084"),
        ("id=(\\\\w+)", "nothing", "sent -"),
    ] {
        assert_eq!(told(&format!("external_id = \"{place}\""), 200, body), expected, "{place}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let now: Timestamp = "1994-11-06T08:49:07Z".parse().unwrap();
    let delay = |status, value: &'static str| {
        let headers = [(RETRY_AFTER, HeaderValue::from_static(value))].into_iter().collect();
        let answer = ProviderAnswer { status, headers, body: String::new().into(), complete: true };
        classifier("").classify(&answer, now).unwrap_err().retry_after.map(|delay| delay.as_secs())
    };
    for (status, value, expected) in [
        (429, "120", Some(120)),
        (503, " 7 ", Some(7)),
        (429, "Sun, 06 Nov 1994 08:49:37 GMT", Some(30)),
        (429, "Sunday, 06-Nov-94 08:49:37 GMT", Some(30)),
        (429, "Sun Nov  6 08:49:37 1994", Some(30)),
        (429, "Mon, 6 Nov 1994 09:49:37 +0100", Some(30)),
        (429, "Sun, 06 Nov 1994 08:00:00 GMT", Some(0)),
        (503, "soon", None),
        (503, "-5", None),
        (400, "120", None),
    ] {
        assert_eq!(delay(status, value), expected, "{status} {value}");
    }
    assert_eq!(delay(429, "18446744073709551615"), Some(u64::MAX));
}

#[test]
fn the_body_may_say_how_long_to_wait() {
    let delay = |status, body: &str| {
        let headers = [(RETRY_AFTER, HeaderValue::from_static("9"))].into_iter().collect();
        let answer = ProviderAnswer { status, headers, body: body.into(), complete: true };
        let classifier = classifier("retry_after = \"/parameters/retry_after\"");
        classifier.classify(&answer, Timestamp::UNIX_EPOCH).unwrap_err().retry_after
    };
    for (status, told, expected) in [
        (429, "35", Some(Duration::from_secs(35))),
        (503, "\"1.5\"", Some(Duration::from_millis(1500))),
        (429, "-1", Some(Duration::from_secs(9))),
        (429, "\"soon\"", Some(Duration::from_secs(9))),
        (429, "null", Some(Duration::from_secs(9))),
        (400, "35", None),
    ] {
        let body = format!("{{\"parameters\":{{\"retry_after\":{told}}}}}");
        assert_eq!(delay(status, &body), expected, "{status} {told}");
    }
}

#[test]
fn a_detail_is_one_short_line_without_secrets() {
    let redact = classifier("auth = { bearer = \"hush hush\" }").redactor;
    let detail = redact.detail("bad\r\n\u{1b}[31mtoken 'hush hush', hush%20hush, hush+hush\tend");
    assert_eq!(detail, "bad [31mtoken '[REDACTED]', [REDACTED], [REDACTED] end");
    assert_eq!(redact.detail(&"é".repeat(500)), "é".repeat(200) + "…");
    assert!(!format!("{redact:?}").contains("hush"));
}

#[test]
fn a_success_cut_short_is_sent_unless_its_body_was_to_decide() {
    let cut = |send: &str, body: &str| {
        let answer =
            ProviderAnswer { status: 200, headers: HeaderMap::new(), body: body.into(), complete: false };
        classifier(send).classify(&answer, Timestamp::UNIX_EPOCH).map_err(|failure| failure.code.to_string())
    };
    let sent = Sent { http_status: Some(200), ..Sent::without_id() };
    assert_eq!(cut("", ""), Ok(sent.clone()));
    assert_eq!(cut("success = { body = \"^OK\" }", "OK, and"), Ok(sent));
    assert_eq!(cut("success = { body = \"^OK\" }", "O"), Err("answer_cut".to_owned()));
}
