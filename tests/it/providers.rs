//! The tables of `tests/fixtures/<provider>/`, row by row and through the real programs: a
//! provider's request in, the exact message or report out; a message in, the exact provider
//! request out.
//!
//! `config.toml` is the configuration, with `PROVIDER` for the fake provider's address; `http.toml`
//! holds the requests, `send.toml` the messages, with the questions about them (`polls`), and `token.toml` the one
//! request for an access token that all of them share. What comes free for every row: nothing that a row
//! says is in any log, and no request comes that no row foresees.

mod sign;

use crate::reports::outcome;
use postern_tests::{Answer, Pair, Program, Provider, Reply, Request, Tap, fetch};
use serde_json::{Value, json};
use sign::Signing;

/// The rows of one table, and what must be in no log.
struct Fixture {
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
    async fn run(provider: &'static str) {
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
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        fixture.pair.ends_silent(&said).await;
    }

    /// A request of the provider's.
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

    /// A message of the application's.
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

/// The answer that `row` has the provider give.
fn answer(row: &Value) -> Answer {
    let status = row["answer"]["status"].as_u64().unwrap_or(200);
    let answer = Answer::status(u16::try_from(status).unwrap());
    answer.body(row["answer"]["body"].as_str().unwrap_or_default())
}

/// What a report says of its recipients but for the answer's status, which must be `status`, and its time.
fn essence(recipients: &Value, status: u64) -> Value {
    let mut recipients = recipients.clone();
    for recipient in recipients.as_array_mut().unwrap() {
        let recipient = recipient.as_object_mut().unwrap();
        assert!(recipient.shift_remove("http_status").is_none_or(|answered| answered == status));
        assert!(recipient.shift_remove("duration_ms").is_none_or(|took| took.is_u64()));
    }
    recipients
}

/// What a row calls `name`, or, of several in their order, `name` with an `s`.
fn all<'r>(row: &'r Value, name: &str) -> Vec<&'r Value> {
    let several = row[format!("{name}s")].as_array();
    row.get(name).into_iter().chain(several.into_iter().flatten()).collect()
}

/// The row's request, as the provider makes it.
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

/// `got` without what the row does not speak of and nobody can foresee.
fn same(got: &mut Value, wanted: &Value) -> Value {
    for unforeseen in ["id", "backend", "received_at", "attempt", "at", "message_id"] {
        if wanted.get(unforeseen).is_none() {
            got.as_object_mut().unwrap().shift_remove(unforeseen);
        }
    }
    got.clone()
}

/// Every identity and text in `part`: those of some length, which stand in a log by no accident.
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

/// A request as the tables write it, nothing decoded: the method and the path, the headers that a
/// backend decides on, each parameter of the query, each of a form or the whole body.
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

/// `value` without what another moment makes of it: of a signature of AWS's, what it covers is left.
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

#[tokio::test]
async fn africastalking() {
    Fixture::run("africastalking").await;
}

/// `postern.reports` must hold nothing of what was refused.
#[tokio::test]
async fn http() {
    Fixture::run("http").await;
}

/// A report may come before the answer to the request that it is about.
#[tokio::test]
async fn a_report_that_comes_before_the_sends_own_answer_is_not_lost() {
    let (fake, gate) = (Provider::start().await, postern_tests::Gate::closed());
    fake.script([Answer::json(200, &json!({"id": "P1"})).held(&gate)]);
    let config = format!(
        "[ingress]\npublic_url = \"https://sms.example.org\"\n[api]\nlisten = \"127.0.0.1:0\"\n[backends.early]\ntype = \"http\"\n\
         [backends.early.send]\nurl = \"{}\"\nform = {{ callback = \"{{{{ status_url }}}}\" }}\nexternal_id = \"/id\"\n\
         [backends.early.status]\nparams = {{ external_id = \"id\" }}\nstates = {{ ok = \"delivered\" }}\n",
        fake.url("/send")
    );
    let Pair { ingress, dispatcher: _dispatcher, tap, vhost: _vhost } = Pair::start(&config).await;
    tap.send(&json!({"backend": "early", "identities": ["+1555"], "text": "hi"})).await;
    let asked = fake.take().await;
    let callback = ("callback".to_owned(), "https://sms.example.org/backends/early/status".to_owned());
    assert_eq!(asked.form(), [callback]);
    assert_eq!(ingress.get("/backends/early/status?id=P1&state=ok").await.status, 200);
    let brief = async |tap: &Tap| {
        let report = tap.take("postern.reports").await.json();
        json!([report["recipients"][0]["state"], report["recipients"][0]["external_id"]])
    };
    assert_eq!(brief(&tap).await, json!(["delivered", "P1"]));
    gate.open();
    assert_eq!(brief(&tap).await, json!(["sent", "P1"]));
}

/// What requests must prove, by every scheme.
#[tokio::test]
async fn auth() {
    Fixture::run("auth").await;
}

#[tokio::test]
async fn aws_sms() {
    Fixture::run("aws-sms").await;
}

#[tokio::test]
async fn beem() {
    Fixture::run("beem").await;
}

#[tokio::test]
async fn hubtel() {
    Fixture::run("hubtel").await;
}

#[tokio::test]
async fn httpsms() {
    Fixture::run("httpsms").await;
}

#[tokio::test]
async fn smsgate() {
    Fixture::run("smsgate").await;
}

#[tokio::test]
async fn jasmin() {
    Fixture::run("jasmin").await;
}

#[tokio::test]
async fn junebug() {
    Fixture::run("junebug").await;
}

#[tokio::test]
async fn kannel() {
    Fixture::run("kannel").await;
}

#[tokio::test]
async fn messenger() {
    Fixture::run("messenger").await;
}

#[tokio::test]
async fn instagram() {
    Fixture::run("instagram").await;
}

/// As Twilio's, with a key and a header of its own.
#[tokio::test]
async fn signalwire() {
    Fixture::run("signalwire").await;
}

/// As Twilio's.
#[tokio::test]
async fn somleng() {
    Fixture::run("somleng").await;
}

#[tokio::test]
async fn mtn() {
    Fixture::run("mtn").await;
}

#[tokio::test]
async fn orange() {
    Fixture::run("orange").await;
}

#[tokio::test]
async fn telegram() {
    Fixture::run("telegram").await;
}

#[tokio::test]
async fn twilio() {
    Fixture::run("twilio").await;
}

#[tokio::test]
async fn vumi() {
    Fixture::run("vumi").await;
}

#[tokio::test]
async fn whatsapp() {
    Fixture::run("whatsapp").await;
}

#[tokio::test]
async fn elks_46() {
    Fixture::run("46elks").await;
}

#[tokio::test]
async fn bandwidth() {
    Fixture::run("bandwidth").await;
}

#[tokio::test]
async fn bulksms() {
    Fixture::run("bulksms").await;
}

#[tokio::test]
async fn clickatell() {
    Fixture::run("clickatell").await;
}

#[tokio::test]
async fn clicksend() {
    Fixture::run("clicksend").await;
}

#[tokio::test]
async fn infobip() {
    Fixture::run("infobip").await;
}

#[tokio::test]
async fn sinch() {
    Fixture::run("sinch").await;
}

#[tokio::test]
async fn vonage_sms() {
    Fixture::run("vonage-sms").await;
}

#[tokio::test]
async fn line() {
    Fixture::run("line").await;
}

#[tokio::test]
async fn messagebird() {
    Fixture::run("messagebird").await;
}

#[tokio::test]
async fn plivo() {
    Fixture::run("plivo").await;
}

#[tokio::test]
async fn slack() {
    Fixture::run("slack").await;
}

#[tokio::test]
async fn telnyx() {
    Fixture::run("telnyx").await;
}

#[tokio::test]
async fn termii() {
    Fixture::run("termii").await;
}

#[tokio::test]
async fn viber() {
    Fixture::run("viber").await;
}

#[tokio::test]
async fn vonage_messages() {
    Fixture::run("vonage-messages").await;
}
