//! One folder of `tests/fixtures/`, row by row.

use super::sign::Signing;
use crate::reports::outcome;
use postern_tests::{Answer, Pair, Program, Provider, Reply, Request, fetch, stands_in_ids};
use serde_json::{Value, json};

/// The rows of one folder and the programs that they are run against.
pub(super) struct Fixture {
    provider: &'static str,
    pair: Pair,
    fake: Provider,
}

fn table(provider: &str, file: &str) -> Option<Vec<Value>> {
    let path = format!("{}/fixtures/{provider}/{file}.toml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).ok()?;
    let table: Value = toml::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"));
    let rows = table["row"].as_array().cloned();
    Some(rows.unwrap_or_else(|| panic!("{path}: there are no rows")))
}

impl Fixture {
    pub(super) async fn run(provider: &'static str) {
        let fake = Provider::start().await;
        let path = format!("{}/fixtures/{provider}/config.toml", env!("CARGO_MANIFEST_DIR"));
        let config = std::fs::read_to_string(path).unwrap().replace("PROVIDER", &fake.url(""));
        let fixture = Self { provider, pair: Pair::start(&config).await, fake };
        let (http, send) = (table(provider, "http"), table(provider, "send"));
        assert!(http.is_some() || send.is_some(), "{provider} has no table");
        let tokens = table(provider, "token").unwrap_or_default();
        for row in &tokens {
            fixture.fake.aside(row["path"].as_str().unwrap(), answer(row));
        }
        for row in http.iter().flatten() {
            fixture.brings(row).await;
        }
        for row in send.iter().flatten() {
            fixture.sends(row).await;
        }
        for row in &tokens {
            let asked = fixture.fake.asked_aside(row["path"].as_str().unwrap());
            let asked: Vec<_> = asked.iter().map(written).collect();
            assert_eq!(
                asked,
                [row["request"].as_str().unwrap().trim_end()],
                "{provider}: one token serves all"
            );
        }
        let mut said = vec!["hush".to_owned()];
        for row in http.iter().chain(&send).flatten() {
            for part in all(row, "message").into_iter().chain(all(row, "report")) {
                private(part, &mut said);
            }
        }
        // A log may contain a short code by chance, as part of an id.
        let said: Vec<&str> = said.iter().map(String::as_str).filter(|said| !stands_in_ids(said)).collect();
        fixture.pair.ends_silent(&said).await;
    }

    /// Makes the provider's request of `row`, and checks what comes of it.
    async fn brings(&self, row: &Value) {
        let name = row["name"].as_str().unwrap();
        let reply = ask(&self.pair.ingress, row).await;
        let status = row["status"].as_u64().unwrap_or(200);
        assert_eq!(u64::from(reply.status), status, "{}: {name}: {}", self.provider, reply.text);
        if let Some(exact) = row["reply"].as_str() {
            assert_eq!(reply.text, exact, "{name}");
        }
        for part in row["says"].as_array().into_iter().flatten() {
            let part = part.as_str().unwrap();
            assert!(reply.text.contains(part), "{name}: {:?} does not say {part:?}", reply.text);
        }
        let (messages, reports) = (all(row, "message"), all(row, "report"));
        let nothing = messages.is_empty() && reports.is_empty();
        let ignored = row["ignored"] == true;
        assert_eq!(nothing, status >= 300 || ignored, "{name}: what is it to become?");
        for wanted in messages {
            let mut message = self.pair.tap.take("postern.inbound").await.json();
            assert_eq!(same(&mut message, wanted), *wanted, "{name}");
        }
        for wanted in reports {
            let mut report = self.pair.tap.take("postern.reports").await.json();
            assert_eq!(report["attempt"], 0, "{name}: a delivery report is no attempt");
            assert_eq!(same(&mut report, wanted), *wanted, "{name}");
        }
    }

    /// Sends the application's message of `row`, and checks what comes of it.
    async fn sends(&self, row: &Value) {
        let name = row["name"].as_str().unwrap();
        let backend = row["message"].get("backend").cloned().unwrap_or(json!(self.provider));
        let mut message = row["message"].clone();
        message["backend"] = backend;
        let wanted: Vec<&str> =
            row["requests"].as_array().unwrap().iter().map(|r| r.as_str().unwrap().trim_end()).collect();
        let status = row["answer"]["status"].as_u64().unwrap_or(200);
        let polls = row["polls"].as_array().cloned().unwrap_or_default();
        self.fake.script(vec![answer(row); wanted.len()].into_iter().chain(polls.iter().map(answer)));
        self.pair.tap.send(&message).await;
        let report = outcome(&self.pair.tap).await;
        assert_eq!(essence(&report["recipients"], status), row["report"], "{}: {name}", self.provider);
        let mut asked = Vec::new();
        for _ in &wanted {
            asked.push(written(&self.fake.take().await));
        }
        asked.sort_unstable();
        assert_eq!(asked, wanted, "{}: {name}", self.provider);
        if polls.is_empty() {
            assert!(self.fake.requests().is_empty(), "{name}: more requests than foreseen");
        }
        for poll in &polls {
            let asked = written(&self.fake.take().await);
            assert_eq!(asked, poll["request"].as_str().unwrap().trim_end(), "{}: {name}", self.provider);
            for wanted in all(poll, "report") {
                let mut report = self.pair.tap.take("postern.reports").await.json();
                assert_eq!(report["attempt"], 0, "{name}: the answer to a poll is no attempt");
                assert_eq!(same(&mut report, wanted), *wanted, "{name}");
            }
        }
    }
}

/// The provider's answer in `row`.
fn answer(row: &Value) -> Answer {
    let status = row["answer"]["status"].as_u64().unwrap_or(200);
    let answer = Answer::status(u16::try_from(status).unwrap());
    answer.body(row["answer"]["body"].as_str().unwrap_or_default())
}

/// A report's recipients without their times and the answer's status, which must be `status`.
fn essence(recipients: &Value, status: u64) -> Value {
    let mut recipients = recipients.clone();
    for recipient in recipients.as_array_mut().unwrap() {
        let recipient = recipient.as_object_mut().unwrap();
        assert!(recipient.shift_remove("http_status").is_none_or(|answered| answered == status));
        assert!(recipient.shift_remove("duration_ms").is_none_or(|took| took.is_u64()));
    }
    recipients
}

/// The value `name` of a row, or all values of the list `names`.
fn all<'r>(row: &'r Value, name: &str) -> Vec<&'r Value> {
    let several = row[format!("{name}s")].as_array();
    row.get(name).into_iter().chain(several.into_iter().flatten()).collect()
}

/// Makes the request of `row` as the provider does.
async fn ask(ingress: &Program, row: &Value) -> Reply {
    let (method, path) = row["request"].as_str().unwrap().split_once(' ').unwrap();
    let mut request = ingress.request(method.parse().unwrap(), path);
    let body = row["body"].as_str().map(str::trim_end);
    let signing = Signing::of(row, body.unwrap_or_default());
    for (name, value) in row["headers"].as_object().into_iter().flatten() {
        request = request.header(name, signing.filled(value.as_str().unwrap()));
    }
    if let Some(body) = body {
        request = request.body(body.to_owned());
    }
    fetch(request).await.unwrap_or_else(|e| panic!("{}: {e:?}", row["name"]))
}

/// `got` without the unpredictable fields that the row does not mention.
fn same(got: &mut Value, wanted: &Value) -> Value {
    for unforeseen in ["id", "backend", "received_at", "attempt", "at", "message_id"] {
        if wanted.get(unforeseen).is_none() {
            got.as_object_mut().unwrap().shift_remove(unforeseen);
        }
    }
    got.clone()
}

/// Adds every identity and text in `part` that is too long to be in a log by chance.
fn private(part: &Value, found: &mut Vec<String>) {
    for (key, value) in part.as_object().into_iter().flatten() {
        match (key.as_str(), value) {
            ("identity" | "text", Value::String(text)) if text.chars().count() > 3 => {
                found.push(text.clone());
            }
            ("identities", Value::Array(all)) => {
                found.extend(all.iter().filter_map(|identity| Some(identity.as_str()?.to_owned())));
            }
            ("recipients", Value::Array(all)) => all.iter().for_each(|one| private(one, found)),
            _ => {}
        }
    }
}

/// A request as the tables write it, without decoding: the method and the path, the headers that a backend
/// determines, each query parameter, each form parameter or the whole body.
pub(crate) fn written(request: &Request) -> String {
    let mut lines = vec![format!("{} {}", request.method, request.path)];
    let mut headers: Vec<_> = request.headers.iter().filter(|(name, _)| decides(name)).collect();
    headers.sort();
    lines.extend(headers.iter().map(|(name, value)| format!("{name}: {}", steady(value))));
    let parameters = |text: &str, sign: &str| {
        text.split('&')
            .filter(|part| !part.is_empty())
            .map(|part| format!("{sign}{part}"))
            .collect::<Vec<_>>()
    };
    lines.extend(parameters(&request.raw_query, "?"));
    let kind = request.header("content-type").unwrap_or_default();
    if kind == "application/x-www-form-urlencoded" {
        lines.extend(parameters(&request.text(), ""));
    } else if !request.body.is_empty() {
        lines.push(request.text());
    }
    lines.join("\n")
}

/// `value` without the parts that depend on the time. Of an AWS signature, the scope and the signed headers
/// stay.
fn steady(value: &str) -> String {
    let parts = value.strip_prefix("AWS4-HMAC-SHA256 Credential=").and_then(|rest| {
        let (scope, rest) = rest.split_once(", ")?;
        let scope = scope.splitn(3, '/').nth(2)?;
        Some((scope, rest.split_once(", Signature=")?.0))
    });
    match parts {
        Some((scope, signed)) => format!("AWS4-HMAC-SHA256 … /{scope}, {signed}"),
        None => value.to_owned(),
    }
}

fn decides(header: &str) -> bool {
    matches!(header, "content-type" | "authorization" | "apikey")
        || header.starts_with("x-") && header != "x-amz-date"
}
