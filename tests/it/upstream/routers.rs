//! RapidSMS's tests of `rapidsms.backends.base` and of the routers: blocking, database, Celery.

use super::{Row, Step, get, has, post, row};
use postern_tests::{Answer, Provider};
use serde_json::{Value, json};

pub(super) const CONFIG: &str = r#"
[retry]
delays = []
[backends.simple]
type = "http"
settings = { config = "passed on" }
[backends.simple.send]
url = "PROVIDER/simple"
form = { to = "{{ identity }}", config = "{{ settings.config }}" }
[backends.other]
type = "http"
[backends.other.send]
url = "PROVIDER/other"
recipients = "joined"
form = { to = "{{ identities }}" }
[backends.bulk]
type = "http"
[backends.bulk.send]
url = "PROVIDER/bulk"
recipients = "joined"
separator = "+"
batch = 200
form = { to = "{{ identities }}" }
[backends.again]
type = "http"
retry = { delays = ["200ms"] }
[backends.again.send]
url = "PROVIDER/again"
form = { to = "{{ identity }}" }
[backends.replying]
type = "vumi"
settings = { sendsms_url = "PROVIDER/replying" }
"#;

fn ok() -> Answer {
    Answer::ok("")
}

/// Answers unscripted requests by recipient: `refused` never gets it, `later` at the second attempt.
pub(super) fn answers(provider: &Provider) {
    let mut tried = false;
    let answer = std::sync::Mutex::new(move |to: &str| match to {
        _ if to.contains("to=refused") => Answer::status(400),
        _ if to.contains("to=later") && !std::mem::replace(&mut tried, true) => Answer::status(503),
        _ => ok(),
    });
    provider.otherwise(move |request| answer.lock().unwrap()(&request.text()));
}

/// One message, and what becomes of it in one attempt.
fn sends(backend: &str, to: &[&str], answers: Vec<Answer>, asked: &[&str], states: &[&'static str]) -> Step {
    let message = json!({"backend": backend, "to": to, "text": "hi"});
    one(message, answers, asked, &[states])
}

fn one(message: Value, answers: Vec<Answer>, asked: &[&str], states: &[&[&'static str]]) -> Step {
    let asked = asked.iter().map(|request| has(&[request], &[])).collect();
    Step::Sends { message, answers, asked, states: states.iter().map(|states| states.to_vec()).collect() }
}

pub(super) fn rows() -> Vec<Row> {
    base().into_iter().chain(routers()).collect()
}

fn base() -> Vec<Row> {
    vec![
        row(
            "routers: backend_has_name",
            [
                get("GET /v1/backends", 200, &["\"name\":\"simple\"", "\"name\":\"other\""]),
                get("GET /backends/simple/?identity=1&text=a", 200, &["OK"])
                    .stores(json!({"backend": "simple"})),
            ],
        ),
        row(
            "routers: backend_passes_kwargs_to_configure",
            [sends(
                "simple",
                &["1"],
                vec![ok()],
                &["POST /simple\ncontent-type: application/x-www-form-urlencoded\nto=1\nconfig=passed+on"],
                &["sent"],
            )],
        )
        .differs("they are [backends.x.settings], and templates name them"),
        row(
            "routers: backend_finds_valid_backend_class",
            [
                Step::Checks {
                    config: "[backends.simple]\ntype = \"http\"\n",
                    code: 0,
                    says: vec!["valid; 1 backend: simple"],
                },
                Step::Checks {
                    config: "[backends.simple]\ntype = \"rapidsms.backends.http\"\n",
                    code: 2,
                    says: vec![
                        "line 2: backends.simple.type: unknown type; allowed: ",
                        "http",
                        "kannel",
                        "vumi",
                    ],
                },
            ],
        )
        .differs("a type is a name and no Python module; an unknown one is named with those that there are"),
    ]
}

fn routers() -> Vec<Row> {
    let fails = || Answer::status(400);
    let many: Vec<String> = (0..201).map(|n| format!("{n:04}")).collect();
    let message = json!({"backend": "nobody", "identities": ["1"], "text": "hi"});
    vec![
        row(
            "routers: router_not_configured_with_backend",
            [
                post(
                    "POST /v1/messages",
                    ("application/json", r#"{"backend": "nobody", "to": "1", "text": "hi"}"#),
                    404,
                    &["there is no backend nobody"],
                ),
                Step::Strays { message, queue: "postern.unrouted" },
            ],
        )
        .differs("the API answers 404; what an application queues itself waits in postern.unrouted"),
        row(
            "routers: backend_send_raises_error",
            [sends("simple", &["1"], vec![Answer::status(500)], &["POST /simple"], &["failed"])],
        )
        .differs("it is reported, and dead-lettered when no attempt is left; nobody has to catch it"),
        row(
            "routers: send_captures_exception",
            [
                sends("simple", &["1"], vec![fails()], &["to=1\n"], &["failed"]),
                sends("simple", &["2"], vec![ok()], &["to=2\n"], &["sent"]),
            ],
        ),
        row(
            "routers: group_outgoing_identities",
            [
                sends(
                    "simple",
                    &["1112223333", "9998887777"],
                    vec![],
                    &["to=1112223333\n", "to=9998887777\n"],
                    &["sent", "sent"],
                ),
                sends(
                    "other",
                    &["2223334444", "1111111111"],
                    vec![ok()],
                    &["to=2223334444%2C1111111111"],
                    &["sent", "sent"],
                ),
            ],
        )
        .differs("a message names its backend, so the application groups; their order is kept"),
        row(
            "routers: distinct_grouping",
            [sends("other", &["1", "2", "1"], vec![ok()], &["to=1%2C2%2C1"], &["sent", "sent", "sent"])],
        ),
        row(
            "routers: in_response_to_external_id",
            [one(
                json!({"backend": "replying", "to": "1", "text": "pong", "context": {"external_id": "ABCD1234"}}),
                vec![ok()],
                &["\"in_reply_to\":\"ABCD1234\""],
                &[&["sent"]],
            )],
        ),
        row(
            "routers: default_batch_size",
            [one(
                json!({"backend": "bulk", "to": many, "text": "hi"}),
                vec![],
                &[&format!("to={}", many[..200].join("%2B")), &format!("to={}", many[200])],
                &[&["sent"; 200], &["sent"]],
            )],
        )
        .differs("batch is each backend's own, 100 unless it says more; all of them have one id"),
        row(
            "routers: send_doesnt_send_already_sent",
            [one(
                json!({"backend": "again", "to": ["1", "later"], "text": "hi"}),
                vec![],
                &["to=1", "to=later", "to=later"],
                &[&["sent", "retrying"], &["sent"]],
            )],
        ),
        row(
            "routers: all_set_to_E_if_backend_sending_error",
            [sends("other", &["1", "2", "3", "4"], vec![fails()], &["to=1%2C2%2C3%2C4"], &["failed"; 4])],
        ),
        row(
            "routers: only_failed_set_to_E",
            [sends(
                "simple",
                &["1", "2", "refused", "4"],
                vec![],
                &["to=1\n", "to=2\n", "to=refused\n", "to=4\n"],
                &["sent", "sent", "failed", "sent"],
            )],
        ),
    ]
}
