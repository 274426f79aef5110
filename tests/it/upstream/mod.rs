//! RapidSMS 2.2's own tests of its backends and routers, under their names there, as rows that run against the
//! real programs. If Postern differs on purpose, the row says why.

mod http;
mod kannel;
mod routers;
mod vumi;

use crate::{providers::written, reports::outcome};
use postern_tests::{Answer, Launch, Pair, Provider, fetch};
use serde_json::Value;

/// The tests that concern backends, by RapidSMS's names.
const UPSTREAM: [&str; 51] = [
    "http: valid_default_post",
    "http: valid_form_get",
    "http: invalid_form_post",
    "http: get_incoming_data",
    "http: valid_response_get",
    "http: valid_response_post",
    "http: custom_valid_response_post",
    "http: invalid_response_get",
    "http: invalid_response_post",
    "http: custom_invalid_response_post",
    "http: valid_post_message",
    "http: valid_post_message_backend_name",
    "kannel: valid_form",
    "kannel: invalid_form",
    "kannel: get_incoming_data",
    "kannel: valid_response_get",
    "kannel: invalid_response",
    "kannel: valid_post_message",
    "kannel: outgoing_keys",
    "kannel: outgoing_unicode_characters",
    "kannel: delivery_report_url",
    "kannel: delivery_report_valid",
    "kannel: delivery_report_invalid",
    "vumi: valid_form",
    "vumi: invalid_form",
    "vumi: get_incoming_data",
    "vumi: valid_response_post",
    "vumi: invalid_response",
    "vumi: invalid_json",
    "vumi: blank_message_is_valid",
    "vumi: required_fields",
    "vumi: outgoing_keys",
    "vumi: response_external_id",
    "vumi: bulk_response_external_id",
    "vumi: message_id_in_metadata",
    "vumi: from_addr_and_endpoint_in_payload",
    "vumi: send",
    "vumi: auth",
    "routers: backend_has_name",
    "routers: backend_passes_kwargs_to_configure",
    "routers: backend_finds_valid_backend_class",
    "routers: router_not_configured_with_backend",
    "routers: backend_send_raises_error",
    "routers: send_captures_exception",
    "routers: group_outgoing_identities",
    "routers: distinct_grouping",
    "routers: in_response_to_external_id",
    "routers: default_batch_size",
    "routers: send_doesnt_send_already_sent",
    "routers: all_set_to_E_if_backend_sending_error",
    "routers: only_failed_set_to_E",
];

/// One of RapidSMS's tests, and how Postern differs.
struct Row {
    name: &'static str,
    steps: Vec<Step>,
    /// The difference and its reason; empty if there is none.
    differs: &'static str,
}

fn row(name: &'static str, steps: impl IntoIterator<Item = Step>) -> Row {
    Row { name, steps: steps.into_iter().collect(), differs: "" }
}

impl Row {
    fn differs(self, why: &'static str) -> Self {
        Self { differs: why, ..self }
    }
}

/// An action and its expected result.
enum Step {
    /// A request to the ingress.
    Asks {
        /// The method, the path and the query: `GET /path?query`.
        request: &'static str,
        /// The body and its media type.
        body: Option<(&'static str, String)>,
        status: u16,
        /// Parts of the answer's body; without any, the body must be empty.
        says: Vec<&'static str>,
        /// A queue, and fields that its next message must have.
        stores: Option<(&'static str, Value)>,
    },
    /// A message of the application: posted to the API, or published if it has an id of its own.
    Sends {
        message: Value,
        /// The provider's answers, in the order of its requests.
        answers: Vec<Answer>,
        /// For each request to the provider, in any order: what it must contain, and what it must not.
        asked: Vec<(Vec<String>, Vec<&'static str>)>,
        /// For each report, in any order: the states of its recipients.
        states: Vec<Vec<&'static str>>,
    },
    /// A message that reaches a queue of no backend.
    Strays { message: Value, queue: &'static str },
    /// `postern check` of a configuration: its exit code, and parts of its output.
    Checks { config: &'static str, code: i32, says: Vec<&'static str> },
}

/// What a request to the provider must contain, and what it must not.
fn has(has: &[&str], lacks: &[&'static str]) -> (Vec<String>, Vec<&'static str>) {
    (has.iter().map(|text| (*text).to_owned()).collect(), lacks.to_vec())
}

fn get(request: &'static str, status: u16, says: &[&'static str]) -> Step {
    Step::Asks { request, body: None, status, says: says.to_vec(), stores: None }
}

fn post(request: &'static str, body: (&'static str, &str), status: u16, says: &[&'static str]) -> Step {
    let body = Some((body.0, body.1.to_owned()));
    Step::Asks { request, body, status, says: says.to_vec(), stores: None }
}

impl Step {
    /// Expects that the request leads to a message in `postern.inbound` with the fields of `wanted`.
    fn stores(self, wanted: Value) -> Self {
        self.leads_to("postern.inbound", wanted)
    }

    fn leads_to(self, queue: &'static str, wanted: Value) -> Self {
        match self {
            Self::Asks { request, body, status, says, .. } => {
                Self::Asks { request, body, status, says, stores: Some((queue, wanted)) }
            }
            other => other,
        }
    }
}

/// The pair that the rows of one file run against.
struct Stage {
    pair: Pair,
    provider: Provider,
}

impl Stage {
    /// Starts the pair with `config`, in which `PROVIDER` stands for the fake provider's address.
    async fn set(config: &str) -> Self {
        let provider = Provider::start().await;
        routers::answers(&provider);
        let pair = Pair::start(&config.replace("PROVIDER", &provider.url(""))).await;
        Self { pair, provider }
    }

    async fn play(&self, rows: Vec<Row>) {
        for row in rows {
            eprintln!("{}", row.name);
            assert!(!row.steps.is_empty(), "{} does nothing", row.name);
            for step in row.steps {
                self.take(row.name, step).await;
            }
        }
        // Anything that a row stored without saying so is still there.
        for queue in ["postern.inbound", "postern.reports"] {
            self.pair.tap.depth_becomes(queue, 0).await;
        }
        assert!(self.provider.requests().is_empty(), "requests that no row foresees");
    }

    async fn take(&self, name: &str, step: Step) {
        match step {
            Step::Asks { request, body, status, says, stores } => {
                let (method, path) = request.split_once(' ').unwrap();
                let mut request = self.pair.ingress.request(method.parse().unwrap(), path);
                if let Some((kind, body)) = body {
                    request = request.header("Content-Type", kind).body(body);
                }
                let reply = fetch(request).await.unwrap_or_else(|e| panic!("{name}: {e:?}"));
                assert_eq!(reply.status, status, "{name}: {}", reply.text);
                assert!(!says.is_empty() || reply.text.is_empty(), "{name}: {}", reply.text);
                for part in says {
                    assert!(reply.text.contains(part), "{name}: {:?} does not say {part:?}", reply.text);
                }
                if let Some((queue, wanted)) = stores {
                    let stored = self.pair.tap.take(queue).await.json();
                    assert_has(name, &stored, &wanted);
                }
            }
            Step::Sends { message, answers, asked, states } => {
                self.provider.script(answers);
                if message.get("id").is_some() {
                    self.pair.tap.send(&message).await;
                } else {
                    let reply = self.pair.ingress.post_json("/v1/messages", &message).await;
                    assert_eq!(reply.status, 202, "{name}: {}", reply.text);
                }
                let (mut wanted, mut told) = (states, Vec::new());
                for _ in &wanted {
                    let report = outcome(&self.pair.tap).await;
                    let recipients = report["recipients"].as_array().unwrap().iter();
                    told.push(
                        recipients.map(|one| one["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
                    );
                }
                told.sort();
                wanted.sort();
                assert_eq!(told, wanted, "{name}");
                let mut requests = Vec::new();
                for _ in &asked {
                    requests.push(written(&self.provider.take().await));
                }
                for (has, lacks) in &asked {
                    let place = requests
                        .iter()
                        .position(|r: &String| has.iter().all(|text| r.contains(text.as_str())));
                    let found =
                        place.unwrap_or_else(|| panic!("{name}: {has:?} is in none of {requests:#?}"));
                    let request = requests.swap_remove(found);
                    assert!(!lacks.iter().any(|text| request.contains(text)), "{name}: {request}");
                }
            }
            Step::Strays { message, queue } => {
                self.pair.tap.send(&message).await;
                assert_eq!(self.pair.tap.take(queue).await.json(), message, "{name}");
            }
            Step::Checks { config, code, says } => {
                let ended = Launch::gateway().config(config).arg("check").run().await;
                assert_eq!(ended.code, Some(code), "{name}: {}", ended.log);
                let said = ended.out + &ended.log;
                for part in says {
                    assert!(said.contains(part), "{name}: {said}");
                }
            }
        }
    }
}

/// Checks that every field of `wanted` is in `stored`.
#[track_caller]
fn assert_has(name: &str, stored: &Value, wanted: &Value) {
    for (key, value) in wanted.as_object().unwrap() {
        assert_eq!(&stored[key], value, "{name}: {key} of {stored}");
    }
}

#[test]
fn every_upstream_test_is_there_once() {
    let rows = [http::rows(), kannel::rows(), vumi::rows(), routers::rows()];
    let mut names: Vec<_> = rows.iter().flatten().map(|row| row.name).collect();
    names.sort_unstable();
    let mut upstream = UPSTREAM;
    upstream.sort_unstable();
    assert_eq!(names, upstream);
    for row in rows.iter().flatten().filter(|row| !row.differs.is_empty()) {
        assert!(row.differs.len() > 20, "{} says too little of what differs", row.name);
    }
}

#[tokio::test]
async fn the_http_backend() {
    Stage::set(http::CONFIG).await.play(http::rows()).await;
}

#[tokio::test]
async fn the_kannel_backend() {
    Stage::set(kannel::CONFIG).await.play(kannel::rows()).await;
}

#[tokio::test]
async fn the_vumi_backend() {
    Stage::set(vumi::CONFIG).await.play(vumi::rows()).await;
}

#[tokio::test]
async fn the_backends_base_and_the_routers() {
    Stage::set(routers::CONFIG).await.play(routers::rows()).await;
}
