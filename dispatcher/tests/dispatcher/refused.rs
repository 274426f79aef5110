//! Outcomes that the broker will never accept unchanged, and messages that are too large to be read.

use crate::setup::{Custom, Running, message, states, until};
use postern_broker::{Address, BrokerError, CUT_BODY, Envelope, HeaderValue, header};
use postern_dispatcher::connectors::{ConnectorRegistry, Outcomes};
use postern_shared::{
    error::Failure,
    message::{MAX_OUTBOUND_BYTES, Outbound, Priority, State},
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

const DEMO: &str =
    "[dispatcher]\nconcurrency = 2\n[backends.demo]\ntype = \"custom\"\nretry = { delays = [\"1s\"] }\n";
const QUEUE: &str = "postern.outbound.demo";

/// A sender that refuses `+1…` for good, cannot reach `+2…`, and accepts the rest, each with 200
/// superfluous characters; and the number of its calls.
fn sender() -> (ConnectorRegistry, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    let connectors = ConnectorRegistry::builtin().with("custom", move |_| {
        let asked = counted.clone();
        Ok(Custom(move |identities: Vec<String>| {
            asked.fetch_add(1, Ordering::Relaxed);
            let outcome = |identity: String| match &identity[..2] {
                "+1" => Err(Failure::permanent("http_400", "d".repeat(200))),
                "+2" => Err(Failure::transient("http_503", "d".repeat(200))),
                _ => Ok(Default::default()),
            };
            let outcomes = identities.into_iter().map(outcome).collect::<Outcomes>();
            async move { outcomes }
        }))
    });
    (connectors.unwrap(), asked)
}

/// Makes the broker refuse larger messages for good, with everything that is published together with them.
/// The size is in bytes, of the body and of all texts of the headers.
fn take_no_more_than(running: &Running, body: usize, headers: usize) {
    let is_larger = move |(_, envelope): &(Address, Envelope)| {
        let texts = envelope.headers.values().map(|value| match value {
            HeaderValue::Text(text) => text.len(),
            HeaderValue::Integer(_) => 0,
        });
        envelope.body.len() > body || texts.sum::<usize>() > headers
    };
    running.broker.answer(move |messages| match messages.iter().any(is_larger) {
        true => Err(BrokerError::Refused("the test says so".to_owned())),
        false => Ok(()),
    });
}

fn metric(running: &Running, stored: &str) -> String {
    let text = running.metrics.text();
    let prefix = format!("postern_outcomes_refused_total{{stored=\"{stored}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap().to_owned()
}

fn to(kind: u8, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("+{kind}{n:03}")).collect()
}

#[tokio::test]
async fn an_outcome_is_stored_in_pieces_and_nobody_is_sent_to_again() {
    let (connectors, asked) = sender();
    let running = Running::start(DEMO, &connectors);
    take_no_more_than(&running, 600, 2000);
    let identities = [to(1, 60), to(2, 60), to(3, 60)].concat();
    let body = message(&identities.iter().map(String::as_str).collect::<Vec<_>>());
    let large = Envelope { body: body.into(), ..Envelope::default() }.with("theirs", "7".repeat(1800));
    running.broker.put_redelivered(QUEUE, large, 0);
    // Other messages go on meanwhile.
    running.queue("demo", Priority::Normal, message(&["+3"])).await;
    until("everybody's report", || {
        let reports = running.broker.waiting("postern.reports");
        reports
            .iter()
            .map(|it| states(&postern_shared::message::Report::from_json(&it.body).unwrap()).len())
            .sum::<usize>()
            == 181
    })
    .await;
    running.idle().await;
    let mut told: Vec<(String, State)> = Vec::new();
    for report in running.reports(1).await {
        told.extend(states(&report).into_iter().map(|(whom, state)| (whom.to_owned(), state)));
        assert!(report.recipients.iter().filter_map(|r| r.reason.as_ref()).all(|why| why.detail.is_empty()));
    }
    for (kind, state) in [(1, State::Failed), (2, State::Retrying), (3, State::Sent)] {
        let some = told.iter().filter(|(whom, _)| to(kind, 60).contains(whom));
        assert_eq!(some.clone().count(), 60, "each once");
        assert!(some.into_iter().all(|(_, told)| *told == state));
    }
    let whom = |envelopes: &mut dyn Iterator<Item = Envelope>| -> Vec<String> {
        let of = |it: Envelope| Outbound::from_json(&it.body).unwrap().identities;
        envelopes.flat_map(of).map(String::from).collect()
    };
    assert_eq!(whom(&mut running.dead(1).await.into_iter()), to(1, 60));
    assert_eq!(whom(&mut running.broker.delayed().into_iter().map(|(_, it)| it)), to(2, 60));
    for letter in running.dead(1).await {
        assert_eq!(letter.text_header(header::CODE), Some("http_400"));
        assert!(letter.body.len() <= 600);
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2, "once for each message");
    assert_eq!((metric(&running, "smaller"), metric(&running, "nothing")), ("3".into(), "0".into()));
    running.stop().await;
}

#[tokio::test]
async fn what_the_broker_accepts_nothing_of_is_not_sent_again_and_does_not_hold_up_the_drain() {
    let (connectors, asked) = sender();
    let running = Running::start(DEMO, &connectors);
    take_no_more_than(&running, 0, 10);
    for _ in 0..3 {
        running.broker.put_redelivered(
            QUEUE,
            Envelope { body: message(&["+1"]).into(), ..Envelope::default() },
            0,
        );
    }
    running.broker.put_redelivered(QUEUE, Envelope { body: "no message".into(), ..Envelope::default() }, 0);
    // A report and a dead letter for each of three messages, and the dead letter of the malformed one.
    until("the end of them", || metric(&running, "nothing") == "7").await;
    running.idle().await;
    assert_eq!(asked.load(Ordering::Relaxed), 3);
    assert!(running.metrics.publish().remark().unwrap().contains("7 lost"));
    let begun = std::time::Instant::now();
    let broker = running.stop().await;
    assert!(begun.elapsed().as_secs() < 15, "the drain took {:?}", begun.elapsed());
    assert!(broker.waiting(QUEUE).is_empty());
}

/// The headers that say where and why it died are kept to the last.
#[tokio::test]
async fn a_dead_letter_that_is_refused_is_cut_down_to_its_headers() {
    let (connectors, _) = sender();
    let running = Running::start(DEMO, &connectors);
    take_no_more_than(&running, 5, 1000);
    running.broker.put_redelivered(QUEUE, Envelope { body: "no message".into(), ..Envelope::default() }, 0);
    let dead = running.dead(1).await;
    assert_eq!((dead[0].body.len(), dead[0].cut_from()), (0, Some(10)));
    assert_eq!(dead[0].text_header(header::CODE), Some("malformed"));
    assert_eq!(dead[0].text_header(header::QUEUE), Some(QUEUE));
    until("it to be counted", || metric(&running, "cut") == "1").await;
    running.stop().await;
}

#[tokio::test]
async fn a_body_larger_than_a_message_is_dead_unread_and_cut() {
    let (connectors, asked) = sender();
    let running = Running::start(DEMO, &connectors);
    let blanks = " ".repeat(MAX_OUTBOUND_BYTES);
    running.queue("demo", Priority::Normal, blanks + &message(&["+3"])).await;
    let letter = running.dead(1).await.remove(0);
    let bytes = (MAX_OUTBOUND_BYTES + message(&["+3"]).len()) as u64;
    assert_eq!((letter.body.len(), letter.cut_from()), (CUT_BODY, Some(bytes)));
    assert_eq!(letter.text_header(header::CODE), Some("too_large"));
    assert!(letter.text_header(header::REASON).unwrap().contains(&bytes.to_string()), "{letter:?}");
    // A message that was cut before it came is malformed, even if its beginning can be read.
    let cut = Envelope { body: message(&["+3"]).into(), ..Envelope::default() }.with(header::CUT_FROM, 99);
    running.broker.put_redelivered(QUEUE, cut, 0);
    assert_eq!(running.dead(2).await[1].text_header(header::CODE), Some("too_large"));
    running.idle().await;
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    let text = running.metrics.text();
    let counted = "postern_dispatch_messages_total{backend=\"demo\",outcome=\"malformed\"} 2";
    assert!(text.contains(counted), "{text}");
    running.stop().await;
}
