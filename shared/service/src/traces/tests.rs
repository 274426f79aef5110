use super::{
    span::{consumed, remote},
    *,
};
use opentelemetry_sdk::trace::Sampler;
use postern_broker::{Address, Envelope, QueueName, header};
use postern_shared::{message::Priority, trace_context::TraceContext};

const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const STATE: &str = "rojo=1,congo=t61";

/// Traces that are exported nowhere, with the default sampler.
fn traces(propagates: bool) -> Traces {
    let sampler = Sampler::ParentBased(Box::new(Sampler::AlwaysOn));
    let provider = SdkTracerProvider::builder().with_sampler(sampler).build();
    let tracer = provider.tracer("test");
    Traces(Some(Arc::new(Tracing { tracer, provider, system: "postern", propagates })))
}

fn given(parent: &str) -> TraceContext {
    TraceContext::parse(parent).unwrap().with_state(STATE)
}

fn request(traces: &Traces, parent: Option<TraceContext>) -> RequestSpan {
    let route = Some("/backends/{name}".to_owned());
    traces.request(traces.began(), ("POST", route), parent, None)
}

#[test]
fn what_is_passed_on_is_the_span_in_the_given_trace_sampled_or_not() {
    for parent in [SAMPLED.to_owned(), SAMPLED.replace("-01", "-00")] {
        let passed = request(&traces(true), Some(given(&parent))).context().clone();
        assert_eq!((passed.trace_id(), passed.state()), (&parent[3..35], Some(STATE)));
        assert_ne!(passed.as_str(), parent, "a span of its own");
        assert!(passed.as_str().ends_with(&parent[52..]), "{passed:?}");
        let off = request(&Traces::off(), Some(given(&parent)));
        assert_eq!(off.context(), &given(&parent), "without traces it is passed on as it came");
    }
    let begun = request(&traces(true), None);
    assert!(begun.context().as_str().ends_with("-01") && begun.context().state().is_none());
}

#[test]
fn without_propagators_no_trace_is_taken_over_and_none_told() {
    for propagates in [true, false] {
        let request = request(&traces(propagates), Some(given(SAMPLED)));
        assert_eq!(request.context().trace_id() == &SAMPLED[3..35], propagates);
        assert_eq!(request.scope().client("POST").propagated().is_some(), propagates);
    }
}

#[test]
fn what_is_published_is_in_the_span_of_its_address() {
    let backend = |name: &str| name.parse().unwrap();
    let mut messages: Vec<_> = [
        Address::Reports(backend("a")),
        Address::Reports(backend("a")),
        Address::Outbound(backend("a"), Priority::Bulk),
        Address::Log,
    ]
    .map(|address| (address, Envelope::default().with(header::TRACESTATE, "of=another")))
    .into();
    let queue = QueueName::inbound();
    let original = Envelope::default().with(header::TRACEPARENT, SAMPLED);
    let span = traces(true).process(&queue, &original);
    span.scope().sends(&mut messages).end(Ok(()));
    let spans: Vec<_> = messages.iter().map(|(_, envelope)| envelope.trace()).collect();
    assert_eq!(spans[0], spans[1], "one address, one span");
    assert_ne!(spans[0], spans[2]);
    assert_eq!(spans[3], None, "what is for the log alone is no message");
    for trace in spans[..3].iter().flatten() {
        assert_eq!((trace.trace_id(), trace.state()), (&SAMPLED[3..35], None));
    }
    let (none, untouched) = (Traces::off().process(&queue, &original), messages.clone());
    none.scope().sends(&mut messages).end(Ok(()));
    assert!(none.is_none() && messages == untouched);
}

#[test]
fn a_queue_is_called_as_the_convention_wants_it() {
    let outbound = |lane| QueueName::outbound(&"a".parse().unwrap(), lane);
    for (queue, name) in [
        (QueueName::inbound(), "postern.inbound"),
        (outbound(Priority::Normal), "postern.outbound:a:postern.outbound.a"),
        (outbound(Priority::Bulk), "postern.outbound:a.bulk:postern.outbound.a.bulk"),
    ] {
        assert_eq!(consumed(&queue), name);
    }
    let parent = remote(&given(SAMPLED));
    assert!(parent.is_remote() && parent.is_sampled() && parent.is_valid());
    assert_eq!(parent.trace_state().get("congo"), Some("t61"));
}
