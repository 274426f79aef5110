//! What operators see: health, metrics and logs.

use crate::{commands::command, reports::outcome};
use lapin::types::{AMQPValue, ShortString};
use postern_tests::{
    Answer, Ended, Launch, Pair, Program, Properties, Provider, Rabbit, assert_silent, eventually,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn config(url: &str) -> String {
    format!(
        "[[api.keys]]\nname = \"app\"\nkey = \"the-api-key\"\nbackends = [\"*\"]\n[retry]\ndelays = [\"100ms\"]\n\
         [backends.x]\ntype = \"http\"\n[backends.x.receive]\nparams = {{ external_id = \"mid\" }}\n\
         [backends.x.send]\nurl = \"{url}\"\nauth = {{ basic = {{ username = \"provider-user\", password = \"provider-password\" }} }}\n\
         query = {{ to = \"{{{{ identity }}}}\", key = \"{{{{ settings.token }}}}\" }}\nform = {{ text = \"{{{{ text }}}}\" }}\n\
         [backends.x.settings]\ntoken = \"provider-token\"\n"
    )
}

/// What must not be in a log at any level.
const SECRETS: [&str; 12] = [
    "+15551112222",
    "the patient's test",
    "+15553334444",
    "15553334444",
    "your result is",
    "hook-token",
    "aG9vay1zZWNyZXQtb2YtdGhlLXRlc3Rz",
    "the-api-key",
    "provider-password",
    "provider-token",
    "answer of the provider",
    "guest:guest",
];

#[tokio::test]
async fn no_number_text_or_secret_is_logged_at_any_level() {
    let provider = Provider::start().await;
    provider.otherwise(|request| match request.query()[0].1.as_str() {
        "+15553334444" => Answer::status(400).body("answer of the provider: +15553334444"),
        _ => Answer::ok("answer of the provider"),
    });
    let vhost = postern_tests::Rabbit::shared().vhost();
    let config = vhost.config(&config(&provider.url("/send")));
    let (ingress, dispatcher) = (trace(Launch::ingress(&config)), trace(Launch::dispatcher(&config)));
    let (ingress, dispatcher) = tokio::join!(ingress.start(), dispatcher.start());
    let form = [("identity", "+15551112222"), ("text", "the patient's test"), ("mid", "m1")];
    assert_eq!(ingress.post_form("/backends/x", &form).await.status, 200);
    let query = "/backends/x?identity=%2B15551112222&text=the+patient%27s+test";
    assert_eq!(ingress.get(query).await.status, 200);
    assert_eq!(ingress.get("/backends/x?identity=%2B15551112222").await.status, 400);
    let body =
        json!({"backend": "x", "identities": ["+15551112222", "+15553334444"], "text": "your result is"});
    for (key, status) in [("the-api-key", 202), ("the-api-key-but-wrong", 401)] {
        let request = ingress.request(reqwest::Method::POST, "/v1/messages").bearer_auth(key).json(&body);
        assert_eq!(postern_tests::fetch(request).await.unwrap().status, status);
    }
    let tap = vhost.tap().await;
    outcome(&tap).await;
    tap.depth_becomes("postern.dead", 1).await;
    tap.take("postern.dead").await;
    // Values that an application writes: a message id, a trace, routing keys, a backend that is a number.
    let named = Properties::default()
        .with_message_id("to +15553334444".into())
        .with_headers(traced("00-+15553334444-b-01").into());
    let wrong = [
        r#"{"identities": "+15553334444", "text": "your result is""#,
        r#"{"backend":"x","identities":["1"],"text":"a","context":{"+15553334444":}}"#,
        r#"{"+15553334444":{"your result is":[}}"#,
        r#"{"backend":"15553334444","identities":["1"],"text":"a"}"#,
    ];
    for body in wrong {
        tap.publish("postern.outbound", "x", body.as_bytes(), named.clone()).await;
        let letter = tap.take("postern.dead").await;
        let reason = letter.headers["x-postern-reason"].as_str().unwrap().to_owned();
        assert_silent(&[reason], &SECRETS);
    }
    let right = json!({"backend": "x", "identities": ["+15551112222"], "text": "your result is"});
    tap.publish("postern.outbound", "x", right.to_string().as_bytes(), named).await;
    outcome(&tap).await;
    for program in [ingress, dispatcher] {
        says_nothing(&program.terminate().await);
    }
}

fn trace(launch: Launch) -> Launch {
    launch.env("POSTERN__LOG__LEVEL", "trace").env("RUST_LOG", "trace")
}

fn traced(value: &str) -> BTreeMap<ShortString, AMQPValue> {
    [("traceparent".into(), AMQPValue::LongString(value.into()))].into()
}

/// Checks that a program ended cleanly, and that its log is JSON lines without a secret.
fn says_nothing(ended: &Ended) {
    assert_eq!(ended.code, Some(0));
    let lines: Vec<_> = ended.log.lines().map(str::to_owned).collect();
    assert!(lines.len() > 3, "it logged next to nothing: {lines:?}");
    assert_silent(&lines, &SECRETS);
    for line in lines {
        let json: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(json.is_object(), "{line}");
    }
}

/// The whole gateway in one process, with an application behind a webhook.
#[tokio::test]
async fn neither_does_the_embedded_gateway_nor_its_webhook() {
    let (provider, application) = (Provider::start().await, Provider::start().await);
    provider.otherwise(|_| Answer::ok("answer of the provider: +15553334444"));
    let refusal = || Answer::status(503).body("no: +15551112222 the patient's test");
    application.script([refusal()]);
    application.otherwise(|_| Answer::status(400).body("answer of the provider: +15551112222"));
    let hook = format!(
        "[application]\ntype = \"webhook\"\nurl = \"{}\"\nsecret = \"whsec_aG9vay1zZWNyZXQtb2YtdGhlLXRlc3Rz\"\n",
        application.url("/hook?token=hook-token")
    );
    let toml = hook + &config(&provider.url("/send"));
    let postern = trace(Launch::gateway().config(&toml)).start().await;
    let form = [("identity", "+15551112222"), ("text", "the patient's test"), ("mid", "m1")];
    assert_eq!(postern.post_form("/backends/x", &form).await.status, 200);
    let body = json!({"backend": "x", "identities": ["+15553334444"], "text": "your result is",
        "context": {"+15553334444": "your result is"}});
    let request = postern.request(reqwest::Method::POST, "/v1/messages").bearer_auth("the-api-key");
    assert_eq!(postern_tests::fetch(request.json(&body)).await.unwrap().status, 202);
    for queue in ["postern.inbound", "postern.reports"] {
        let refused = [("queue", queue), ("outcome", "failed")];
        postern.metric_becomes("postern_application_deliveries_total", &refused, 1.0).await;
    }
    says_nothing(&postern.terminate().await);
}

/// The metrics of every program.
pub(crate) const METRICS_OF_ALL: [&str; 24] = [
    "admin_refused_total",
    "backend_paused",
    "broker_blocked",
    "broker_connected",
    "build_info",
    "config_last_reload_successful",
    "config_loaded_timestamp_seconds",
    "config_reloads_total",
    "connections_open",
    "connections_refused_total",
    "dead_letters_waiting",
    "log_lines_dropped_total",
    "publish_duration_seconds",
    "publish_failures_total",
    "queue_max_messages",
    "queue_messages",
    "requests_unread_total",
    "spool_bytes",
    "spool_dead_letters_total",
    "spool_forwarded_total",
    "spool_messages",
    "spool_oldest_seconds",
    "spool_refused_total",
    "spool_stored_total",
];
/// Further metrics of an ingress.
pub(crate) const METRICS_OF_INGRESS: [&str; 9] = [
    "ingress_duplicates_total",
    "ingress_ignored_total",
    "ingress_invalid_items_total",
    "ingress_log_lookup_failures_total",
    "ingress_refused_total",
    "ingress_replaced_total",
    "ingress_request_duration_seconds",
    "ingress_requests_total",
    "reports_total",
];
/// Further metrics of a dispatcher.
pub(crate) const METRICS_OF_DISPATCHER: [&str; 21] = [
    "application_deliveries_total",
    "application_duration_seconds",
    "application_in_flight",
    "application_ready",
    "backend_ready",
    "breaker_open",
    "breaker_opened_total",
    "dead_letters_total",
    "dispatch_concurrency",
    "dispatch_in_flight",
    "dispatch_messages_total",
    "dispatch_recipients_total",
    "dispatch_segments_total",
    "message_age_seconds",
    "oldest_message_age_seconds",
    "outcomes_refused_total",
    "rate_share",
    "rate_wait_seconds",
    "retries_total",
    "send_duration_seconds",
    "throttled_total",
];

/// Dashboards and alerts use these names: the test fails if one is missing and if one is not listed here.
#[tokio::test]
async fn every_metric_of_the_contract_is_there_and_no_other() {
    let provider = Provider::obliging().await;
    let webhook = format!(
        "[backends.x.status]\nstates = {{ DELIVRD = \"delivered\" }}\n[application]\ntype = \"webhook\"\nformat = \"form\"\nurl = \"{}\"\n[backends.rated]\ntype = \"http\"\n\
         rate = \"100/s\"\nsend = {{ url = \"{}\" }}\n",
        provider.url("/hook"),
        provider.url("/rated"),
    );
    let pair = Pair::start(&(config(&provider.url("/send")) + &webhook)).await;
    assert_eq!(pair.ingress.get("/backends/x?identity=1&text=a").await.status, 200);
    pair.tap.send(&json!({"backend": "x", "identities": ["+1555"], "text": "hi"})).await;
    outcome(&pair.tap).await;
    let report = [("message_id", "0199b2a4-0000-7000-8000-000000000000"), ("state", "DELIVRD")];
    assert_eq!(pair.ingress.post_form("/backends/x/status", &report).await.status, 200);
    pair.dispatcher.metric_becomes("postern_broker_connected", &[], 1.0).await;
    let asked_last = [
        (&pair.ingress, "postern_dead_letters_waiting"),
        (&pair.dispatcher, "postern_oldest_message_age_seconds"),
    ];
    for (program, last) in asked_last {
        eventually("the queues to be asked", async || {
            if program.metrics().await.has(last) { Ok(()) } else { Err("not yet") }
        })
        .await;
    }
    let (ingress, dispatcher) = (pair.ingress.metrics().await, pair.dispatcher.metrics().await);
    let with_all = |own: &[&'static str]| METRICS_OF_ALL.iter().chain(own).copied().collect::<BTreeSet<_>>();
    assert_eq!(ingress.names("postern_"), with_all(&METRICS_OF_INGRESS));
    assert_eq!(dispatcher.names("postern_"), with_all(&METRICS_OF_DISPATCHER));
    for metrics in [&ingress, &dispatcher] {
        assert!(metrics.has("process_resident_memory_bytes"));
        assert!((metrics.value("postern_broker_connected", &[]) - 1.0).abs() < f64::EPSILON);
        for (key, value) in metrics.labels() {
            for number in ["+1555", "1555111", "1555333"] {
                assert!(!value.contains(number), "{key}={value}");
            }
            assert!(!SECRETS.contains(&value), "{key}={value}");
        }
    }
    let wanted = [("backend", "x"), ("method", "GET"), ("status", "200")];
    assert!((ingress.value("postern_ingress_requests_total", &wanted) - 1.0).abs() < f64::EPSILON);
    for (state, number) in [("delivered", 1.0), ("undelivered", 0.0)] {
        let reported = ingress.value("postern_reports_total", &[("backend", "x"), ("state", state)]);
        assert!((reported - number).abs() < f64::EPSILON, "{state}: {reported}");
    }
    let limit = ingress.value("postern_queue_max_messages", &[("queue", "postern.reports")]);
    assert!((limit - 1_000_000.0).abs() < f64::EPSILON, "{limit}");
    assert!(
        (dispatcher.value("postern_message_age_seconds_count", &[("backend", "x")]) - 1.0).abs()
            < f64::EPSILON
    );
}

/// The messages that wait for `dispatcher`, which is paused, are counted, and their age grows.
async fn waiting_is_shown(ingress: &Program, dispatcher: &Program) {
    let pause = |command| format!("/v1/backends/x/{command}");
    assert_eq!(command(dispatcher, &pause("pause"), &json!({})).await.0, 200);
    for to in ["1", "2", "3"] {
        let body = json!({"backend": "x", "identities": [to], "text": "a"});
        let request = ingress.request(reqwest::Method::POST, "/v1/messages").bearer_auth("the-api-key");
        assert_eq!(postern_tests::fetch(request.json(&body)).await.unwrap().status, 202);
    }
    let queue = [("queue", "postern.outbound.x")];
    for program in [ingress, dispatcher] {
        program.metric_becomes("postern_queue_messages", &queue, 3.0).await;
    }
    let of_x = [("backend", "x")];
    dispatcher.metric_reaches("postern_oldest_message_age_seconds", &of_x, 1.0).await;
    assert_eq!(command(dispatcher, &pause("resume"), &json!({})).await.0, 200);
    dispatcher.metric_becomes("postern_queue_messages", &queue, 0.0).await;
    dispatcher.metric_becomes("postern_oldest_message_age_seconds", &of_x, 0.0).await;
}

#[tokio::test]
async fn what_waits_is_counted_and_its_age_shown_on_both_brokers() {
    let provider = Provider::obliging().await;
    let config = config(&provider.url("/send"));
    let (pair, gateway) = (Pair::start(&config), Launch::gateway().config(&config));
    let (pair, gateway) = tokio::join!(pair, gateway.start());
    tokio::join!(waiting_is_shown(&pair.ingress, &pair.dispatcher), waiting_is_shown(&gateway, &gateway));
    // An ingress does not consume from these queues, so it cannot know the age.
    assert!(!pair.ingress.metrics().await.has("postern_oldest_message_age_seconds"));
}

#[tokio::test]
async fn made_up_paths_and_methods_make_no_new_metrics() {
    let pair = Pair::start(&config("http://127.0.0.1:9/")).await;
    for n in 0..20 {
        pair.ingress.get(&format!("/backends/made-up-{n}")).await;
        pair.ingress.get(&format!("/made-up-{n}")).await;
        let method = reqwest::Method::from_bytes(format!("MADEUP{n}").as_bytes()).unwrap();
        pair.ingress.fetch(pair.ingress.request(method, "/backends/x")).await;
    }
    let metrics = pair.ingress.metrics().await;
    let made_up: Vec<_> =
        metrics.labels().filter(|(_, value)| value.to_lowercase().contains("made")).collect();
    assert_eq!(made_up, []);
}

#[tokio::test]
async fn health_is_on_the_admin_port_only() {
    let pair = Pair::start(&config("http://127.0.0.1:9/")).await;
    for program in [&pair.ingress, &pair.dispatcher] {
        for path in ["/livez", "/readyz", "/metrics"] {
            assert_eq!(program.admin(path).await.unwrap().status, 200, "{path}");
        }
        assert_eq!(program.admin("/v1/backends").await.unwrap().status, 404);
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(pair.ingress.get(path).await.status, 404, "{path} is public");
    }
}

#[tokio::test]
async fn the_log_is_for_people_if_the_configuration_says_so() {
    let postern = Launch::gateway().env("POSTERN__LOG__FORMAT", "human").start().await;
    let log = postern.terminate().await.log;
    assert!(!log.is_empty());
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).is_err()), "{log}");
    let time = log.split_whitespace().next().unwrap();
    let [date, digits] = time.split('.').collect::<Vec<_>>()[..] else { panic!("{log}") };
    assert!(date.len() == "2026-11-27T09:45:25".len() && digits.len() == "212Z".len(), "{time}");
}

/// A queue that somebody declared with other properties is used, and the operator is told.
#[tokio::test]
async fn a_queue_with_other_properties_is_named_by_a_program_that_is_ready() {
    let vhost = Rabbit::shared().vhost();
    vhost.declare_classic("postern.dead");
    let ingress = Launch::ingress(&vhost.config("[ingress]\nspool = false\n")).start().await;
    let ready = ingress.ready().await.unwrap();
    assert!(
        ready.text.starts_with("ready\n")
            && ready.text.contains("queue postern.dead exists with other properties"),
        "{}",
        ready.text
    );
}
