//! OpenTelemetry: what a collector sees of a message's way, and that nothing depends on the collector.

use crate::reports::outcome;
use postern_tests::{Answer, Collector, Gate, Launch, Program, Provider, Rabbit, Request, Span, free_port};
use serde_json::json;
use std::{collections::BTreeSet, time::Instant};

const NUMBER: &str = "+15557650987";
const TEXT: &str = "is it about the knee";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const STATE: &str = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
const TOKEN: &str = "hush-token";
const SENT: &str = "postern_dispatch_messages_total";

/// Every attribute that a span may have: OpenTelemetry's, and four of Postern's.
const ATTRIBUTES: [&str; 18] = [
    "error.type",
    "http.request.method",
    "http.response.status_code",
    "http.route",
    "messaging.batch.message_count",
    "messaging.destination.name",
    "messaging.message.id",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.rabbitmq.destination.routing_key",
    "messaging.system",
    "postern.attempt",
    "postern.backend",
    "postern.class",
    "postern.outcome",
    "server.address",
    "server.port",
    "url.scheme",
];

/// A backend that echoes each text and whose provider authenticates itself, and `open`, whose provider does not.
fn config(url: &str) -> String {
    format!(
        "[application]\ntype = \"echo\"\n[retry]\ndelays = [\"100ms\"]\n\
         [backends.clinic]\ntype = \"http\"\n\
         receive = {{ auth = {{ token = {{ header = \"X-Token\", secret = \"{TOKEN}\" }} }} }}\n\
         status = {{ states = {{ ok = \"delivered\" }} }}\n\
         [backends.clinic.send]\nurl = \"{url}/hush-path/{{{{ identity }}}}?q={{{{ text }}}}\"\n\
         form = {{ report = \"{{{{ status_path }}}}?message_id={{{{ id }}}}&state=ok\" }}\n\
         [backends.open]\ntype = \"http\"\nstatus = {{ states = {{ ok = \"delivered\" }} }}\n"
    )
}

/// A person writes; the provider's request belongs to a foreign trace, sampled as `flags` say.
async fn write_in(program: &Program, flags: &str) {
    let request = program.request(reqwest::Method::POST, "/backends/clinic");
    let request = request.form(&[("identity", NUMBER), ("text", TEXT)]).header("X-Token", TOKEN);
    let request = request.header("traceparent", format!("00-{TRACE}-{PARENT}-{flags}"));
    // Two header lines form one list.
    let (first, second) = STATE.split_once(',').unwrap();
    let reply = program.fetch(request.header("tracestate", first).header("tracestate", second)).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

/// The provider's delivery report, at the address that it got with the message.
async fn report(program: &Program, asked: &Request) {
    let (_, address) = &asked.form()[0];
    let request = program.request(reqwest::Method::GET, address).header("X-Token", TOKEN);
    let reply = program.fetch(request).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
}

fn one<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found: Vec<_> = spans.iter().filter(|span| span.name == name).collect();
    let [span] = found[..] else { panic!("{name}: {found:#?}") };
    span
}

fn has(spans: &[Span], name: &str) -> bool {
    spans.iter().any(|span| span.name == name)
}

const RECEIVED: &str = "POST /backends/{name}";
const REPORTED: &str = "GET /backends/{name}/status";
const PROCESS: &str = "process postern.outbound:clinic:postern.outbound.clinic";

/// Checks the spans of a message that came in, was answered, and was reported.
fn assert_one_trace(spans: &[Span], asked: &Request, system: &str, services: &[&str]) {
    // Each span has its parent, found by name; the reports of the two halves have the same name.
    let received = one(spans, RECEIVED);
    assert_eq!(received.parent, PARENT);
    let client = spans.iter().find(|span| span.name == "POST").unwrap();
    let below = |name: &str, parent: &Span, kind: &str| {
        let found: Vec<_> =
            spans.iter().filter(|span| span.name == name && span.parent == parent.id).collect();
        let [span] = found[..] else { panic!("{name} below {}: {found:#?} of {spans:#?}", parent.name) };
        assert_eq!(span.kind, kind, "{name}");
        span.clone()
    };
    let inbound = below("send postern.inbound:clinic", received, "PRODUCER");
    let echo = below("process postern.inbound", &inbound, "CONSUMER");
    let outbound = below("send postern.outbound:clinic", &echo, "PRODUCER");
    below("ack postern.inbound", &echo, "CLIENT");
    let queue = "postern.outbound:clinic:postern.outbound.clinic";
    let process = below(&format!("process {queue}"), &outbound, "CONSUMER");
    assert_eq!((client.kind, &client.parent), ("CLIENT", &process.id));
    let sent = below("send postern.reports:clinic", &process, "PRODUCER");
    below(&format!("ack {queue}"), &process, "CLIENT");
    let reported = below(REPORTED, client, "SERVER");
    let delivered = below("send postern.reports:clinic", &reported, "PRODUCER");
    assert_eq!(spans.len(), 11, "{spans:#?}");

    for span in spans {
        // A report address carries the trace id without the state.
        let state = if [&reported.id, &delivered.id].contains(&&span.id) { "" } else { STATE };
        assert_eq!((&*span.trace, &*span.state), (TRACE, state), "{}", span.name);
        assert!(!span.failed && span.time.0 <= span.time.1 && span.links.is_empty(), "{span:?}");
        let unknown = span.attributes.keys().find(|name| !ATTRIBUTES.contains(&name.as_str()));
        assert_eq!(unknown, None, "{span:?}");
        if span.name.contains("postern.") {
            assert_eq!(span.attribute("messaging.system"), system);
            let destination = span.name.split_once(' ').unwrap().1;
            assert_eq!(span.attribute("messaging.destination.name"), destination);
        }
        let service = span.resource["service.name"].as_str();
        let receives = span.kind == "SERVER" || span.parent == received.id || span.parent == reported.id;
        assert_eq!(service, services[usize::from(!receives) % services.len()], "{}", span.name);
        assert!(!span.resource["service.version"].is_empty());
        assert_eq!(span.resource["service.instance.id"].len(), 36);
        assert_eq!(span.resource["deployment.environment.name"], "test");
    }
    for (span, name, value) in [
        (received, "http.response.status_code", "200"),
        (received, "http.request.method", "POST"),
        (received, "postern.backend", "clinic"),
        (&inbound, "messaging.operation.type", "send"),
        (&inbound, "messaging.rabbitmq.destination.routing_key", "clinic"),
        (&process, "messaging.operation.type", "process"),
        (&process, "postern.attempt", "1"),
        (&process, "postern.outcome", "sent"),
        (client, "http.request.method", "POST"),
        (client, "http.response.status_code", "200"),
        (client, "server.address", "127.0.0.1"),
    ] {
        assert_eq!(span.attribute(name), value, "{name} of {}", span.name);
    }
    // The message id is the same in both halves and in its delivery report.
    let id = outbound.attribute("messaging.message.id");
    assert_eq!(id.len(), 36);
    for span in [&process, &sent, &reported, &delivered] {
        assert_eq!(span.attribute("messaging.message.id"), id, "{}", span.name);
    }
    // The provider was told the span of the request to it.
    assert_eq!(asked.header("traceparent"), Some(&*format!("00-{TRACE}-{}-01", client.id)));
    assert_eq!(asked.header("tracestate"), Some(STATE));
}

/// Checks that no number, text or secret is there, in any encoding that a request has.
fn assert_says_nothing(collector: &Collector) {
    for request in collector.requests() {
        for secret in ["5557650987", "the knee", "the+knee", "the%20knee", TOKEN, "hush-path", "hush-key"] {
            let found = request.body.windows(secret.len()).any(|bytes| bytes == secret.as_bytes());
            assert!(!found, "{secret} is in a request to the collector");
        }
    }
}

#[tokio::test]
async fn a_message_is_one_trace_over_rabbitmq_from_the_providers_request_to_its_report() {
    let (collector, provider) = (Collector::start().await, Provider::obliging().await);
    let vhost = Rabbit::shared().vhost();
    let config = vhost.config(&config(&provider.url("")));
    let with = |launch: Launch| collector.takes(launch).env("OTEL_RESOURCE_ATTRIBUTES", ENVIRONMENT);
    let (ingress, dispatcher) = (with(Launch::ingress(&config)), with(Launch::dispatcher(&config)));
    let (ingress, dispatcher) = tokio::join!(ingress.start(), dispatcher.start());
    write_in(&ingress, "01").await;
    let asked = provider.take().await;
    dispatcher.metric_becomes(SENT, &[("outcome", "sent")], 1.0).await;
    report(&ingress, &asked).await;
    collector.wait_for("all spans of the message", |spans| spans.len() >= 11).await;
    tokio::join!(ingress.ends_silent(&[NUMBER, TEXT]), dispatcher.ends_silent(&[NUMBER, TEXT]));
    let spans = collector.spans();
    assert_one_trace(&spans, &asked, "rabbitmq", &["postern-ingress", "postern-dispatcher"]);
    assert_says_nothing(&collector);
}

const ENVIRONMENT: &str = "deployment.environment.name=test";

#[tokio::test]
async fn a_message_is_one_trace_in_one_process_and_a_report_that_proves_nothing_is_linked_to_it() {
    let (collector, provider) = (Collector::start().await, Provider::obliging().await);
    let launch = collector.takes(Launch::gateway().config(&config(&provider.url(""))));
    let launch = launch.env("OTEL_RESOURCE_ATTRIBUTES", ENVIRONMENT).env("OTEL_SERVICE_NAME", "gateway");
    let postern = launch.start().await;
    write_in(&postern, "01").await;
    let asked = provider.take().await;
    postern.metric_becomes(SENT, &[("outcome", "sent")], 1.0).await;
    report(&postern, &asked).await;
    let spans = collector.wait_for("all spans of the message", |spans| spans.len() == 11).await;
    assert_one_trace(&spans, &asked, "postern", &["gateway"]);
    postern.metric_becomes("postern_trace_spans_total", &[("outcome", "exported")], 11.0).await;

    let address = asked.form()[0].1.replace("/clinic/", "/open/");
    assert_eq!(postern.get(&address).await.status, 200);
    let is_other = |span: &Span| span.name == REPORTED && span.trace != TRACE;
    let all = collector.wait_for("the report's span", |spans| spans.iter().any(is_other)).await;
    postern.ends_silent(&[NUMBER, TEXT]).await;
    let linked = all.into_iter().find(is_other).unwrap();
    let client = one(&spans, "POST");
    assert_eq!((&*linked.parent, &*linked.state), ("", ""));
    assert_eq!(linked.links, [(TRACE.to_owned(), client.id.clone())]);
    assert_says_nothing(&collector);
}

#[tokio::test]
async fn the_last_spans_are_exported_before_the_program_ends() {
    let provider = Provider::obliging().await;
    // The program waits for at most three seconds, and the machine may stand still for as long.
    for _ in 0..3 {
        let collector = Collector::start().await;
        let launch = collector.takes(Launch::gateway().config(&config(&provider.url(""))));
        let postern = launch.env("OTEL_BSP_SCHEDULE_DELAY", "3600000").start().await;
        write_in(&postern, "01").await;
        assert!(collector.requests().is_empty(), "spans are exported once an hour");
        assert_eq!(postern.terminate().await.code, Some(0));
        if has(&collector.spans(), RECEIVED) {
            return;
        }
    }
    panic!("no span was exported");
}

#[tokio::test]
async fn a_trace_that_is_not_sampled_is_passed_on_so_and_not_exported() {
    let (collector, provider) = (Collector::start().await, Provider::obliging().await);
    let postern = collector.takes(Launch::gateway().config(&config(&provider.url("")))).start().await;
    write_in(&postern, "00").await;
    let asked = provider.take().await;
    let told = asked.header("traceparent").unwrap();
    assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-00"), "{told}");
    assert_eq!(asked.header("tracestate"), Some(STATE));
    postern.metric_becomes(SENT, &[("outcome", "sent")], 1.0).await;
    report(&postern, &asked).await;
    postern.ends_silent(&[NUMBER, TEXT]).await;
    assert!(collector.requests().is_empty());
}

#[tokio::test]
async fn each_attempt_has_its_span_and_a_dead_letter_says_why() {
    let (collector, provider) = (Collector::start().await, Provider::start().await);
    provider.script([Answer::status(503), Answer::status(400).body(TEXT)]);
    let postern = collector.takes(Launch::gateway().config(&config(&provider.url("")))).start().await;
    write_in(&postern, "01").await;
    postern.metric_becomes(SENT, &[("outcome", "failed")], 1.0).await;
    let is_attempt = |span: &&Span| span.name == PROCESS;
    // An attempt's span ends after those of what it did.
    let spans =
        collector.wait_for("two attempts", |spans| spans.iter().filter(is_attempt).count() == 2).await;
    postern.ends_silent(&[NUMBER, TEXT]).await;
    let mut attempts: Vec<_> = spans.iter().filter(is_attempt).collect();
    attempts.sort_by_key(|span| span.time);
    let seen = |name: &str| attempts.iter().map(|span| span.attribute(name)).collect::<Vec<_>>();
    assert_eq!(seen("postern.attempt"), ["1", "2"]);
    assert_eq!(seen("postern.outcome"), ["retrying", "failed"]);
    assert_eq!(seen("error.type"), ["transient/http_503", "permanent/http_400"]);
    assert!(attempts.iter().all(|span| span.failed && span.trace == TRACE), "{attempts:#?}");
    // The parent of the second attempt is the span that published the retry.
    let retry = spans.iter().find(|span| span.id == attempts[1].parent).unwrap();
    assert_eq!((retry.kind, &retry.parent), ("PRODUCER", &attempts[0].id));
    let requests = spans.iter().filter(|span| span.name == "POST" && span.failed);
    let statuses: BTreeSet<_> = requests.map(|span| span.attribute("http.response.status_code")).collect();
    assert_eq!(statuses, ["400", "503"].into());
    assert_eq!(one(&spans, "send postern.dead:clinic").parent, attempts[1].id);
    assert_says_nothing(&collector);
}

#[tokio::test]
async fn a_collector_that_is_down_or_hangs_holds_up_nothing_and_what_is_lost_is_counted() {
    let gate = Gate::closed();
    let hanging = Collector::answering(Answer::ok("").held(&gate)).await;
    let down = format!("http://127.0.0.1:{}", free_port());
    for (endpoint, outcome) in [(None, "dropped"), (Some(&down), "failed")] {
        let provider = Provider::obliging().await;
        let launch = hanging.takes(Launch::gateway().config(&config(&provider.url(""))));
        let launch = launch.env("OTEL_BSP_MAX_QUEUE_SIZE", "8").env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4");
        let launch = match endpoint {
            Some(down) => launch.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", down),
            None => launch,
        };
        let postern = launch.start().await;
        for _ in 0..5 {
            write_in(&postern, "01").await;
        }
        provider.wait_for(5).await;
        postern.metric_becomes(SENT, &[("outcome", "sent")], 5.0).await;
        postern.metric_reaches("postern_trace_spans_total", &[("outcome", outcome)], 1.0).await;
        if endpoint.is_some() {
            let line = postern.log().wait_for("spans cannot be exported").await;
            assert!(line.contains("refused"), "{line}");
        }
        let begun = Instant::now();
        let ended = postern.terminate().await;
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert!(begun.elapsed().as_secs() < 15, "{:?}", begun.elapsed());
    }
    gate.open();
}

#[tokio::test]
async fn what_the_variables_ask_for_is_done_or_said() {
    let launch = || Launch::gateway().env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");
    let ended = launch().env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc").run().await;
    assert_eq!(ended.code, Some(2), "{}", ended.log);
    for said in ["OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf", "4318"] {
        assert!(ended.log.contains(said), "{}", ended.log);
    }
    let postern = launch().env("OTEL_TRACES_EXPORTER", "zipkin").start().await;
    postern.log().wait_for("unknown exporter").await;
    assert!(!postern.metrics().await.has("postern_trace_spans_total"), "traces are off");
}

/// A message that an application publishes without a trace begins one, which the sampler decides on.
#[tokio::test]
async fn an_applications_message_begins_a_trace_of_its_own() {
    let (collector, provider) = (Collector::start().await, Provider::obliging().await);
    let vhost = Rabbit::shared().vhost();
    let config = vhost.config(&config(&provider.url("")));
    for (sampler, flags) in [("always_off", "00"), ("parentbased_always_on", "01")] {
        let launch = collector.takes(Launch::dispatcher(&config)).env("OTEL_TRACES_SAMPLER", sampler);
        let (dispatcher, tap) = tokio::join!(launch.start(), vhost.tap());
        tap.send(&json!({"backend": "clinic", "identities": [NUMBER], "text": TEXT})).await;
        let asked = provider.take().await;
        assert!(asked.header("traceparent").is_some_and(|told| told.ends_with(flags)), "{asked:?}");
        outcome(&tap).await;
        if flags == "01" {
            collector.wait_for("the message's span", |spans| has(spans, PROCESS)).await;
        }
        dispatcher.ends_silent(&[NUMBER, TEXT]).await;
    }
    let spans = collector.spans();
    assert!(has(&spans, "POST"), "{spans:#?}");
    let process = one(&spans, PROCESS);
    assert_eq!(process.parent, "");
    assert!(spans.iter().all(|span| span.trace == process.trace), "{spans:#?}");
}
