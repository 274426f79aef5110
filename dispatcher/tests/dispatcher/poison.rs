//! Messages that were taken too often without being settled, and those that earlier versions set apart.

use crate::{
    provider::{Provider, answer},
    setup::{Custom, Running, message, states, until},
};
use postern_broker::{Envelope, HeaderValue, header, memory::MemoryBroker};
use postern_dispatcher::connectors::{ConnectorRegistry, Outcomes, Sent};
use postern_shared::{
    error::Failure,
    message::{Inbound, MessageId, Outbound, State},
};
use serde_json::json;
use std::sync::{Arc, Mutex};

const DEMO: &str = "[dispatcher]\nmax_deliveries = 6\n[backends.demo]\ntype = \"custom\"\n";
const QUEUE: &str = "postern.outbound.demo";
const QUARANTINE: &str = "postern.quarantine";

/// The identities that the sender was asked for, in order.
type Asked = Arc<Mutex<Vec<String>>>;

/// A sender that notes the identities that it is asked for.
fn noting() -> (ConnectorRegistry, Asked) {
    let asked = Asked::default();
    let noted = asked.clone();
    let connectors = ConnectorRegistry::builtin().with("custom", move |_| {
        let asked = noted.clone();
        Ok(Custom(move |identities: Vec<String>| {
            asked.lock().unwrap().push(identities[0].clone());
            let sent = identities.iter().map(|_| Ok::<_, Failure>(Sent::default())).collect::<Outcomes>();
            async move { sent }
        }))
    });
    (connectors.unwrap(), asked)
}

fn to(identity: &str) -> Envelope {
    let message_id = Some(MessageId::new().to_string());
    Envelope { message_id, body: message(&[identity]).into(), ..Envelope::default() }.with("x-own", 7)
}

fn assert_poison(letter: &Envelope, queue: &str) {
    assert_eq!(letter.text_header(header::CODE), Some("poison"));
    assert_eq!(letter.text_header(header::CLASS), Some("unknown"));
    assert_eq!(letter.text_header(header::QUEUE), Some(queue));
    assert!(letter.text_header(header::REASON).unwrap().starts_with("poison: consumed "), "{letter:?}");
    assert!(letter.text_header(header::DEAD_AT).unwrap().parse::<jiff::Timestamp>().is_ok());
}

#[tokio::test]
async fn what_was_taken_too_often_is_dead_unsent_and_reported() {
    let (connectors, asked) = noting();
    let running = Running::start(DEMO, &connectors);
    running.broker.put_redelivered(QUEUE, to("+1"), 5);
    running.broker.put_redelivered(QUEUE, to("+2"), 6);
    let dead = running.dead(1).await;
    assert_poison(&dead[0], QUEUE);
    assert_eq!(dead[0].headers.get("x-own"), Some(&HeaderValue::Integer(7)));
    assert_eq!(Outbound::from_json(&dead[0].body).unwrap().identities[0].as_str(), "+2");
    let reports = running.reports(2).await;
    let mut states: Vec<_> = reports.iter().flat_map(states).collect();
    states.sort_by_key(|(identity, _)| *identity);
    assert_eq!(states, [("+1", State::Sent), ("+2", State::Unknown)]);
    running.idle().await;
    assert_eq!(*asked.lock().unwrap(), ["+1"], "one below the limit is sent");
    let text = running.metrics.text();
    let counted = "postern_dead_letters_total{backend=\"demo\",class=\"unknown\"} 1";
    assert!(text.contains(counted) && !text.contains("quarantine"), "{text}");
    running.stop().await;
}

/// Reading it may be what crashes the process.
#[tokio::test]
async fn what_was_taken_once_more_is_dead_unread() {
    let (connectors, asked) = noting();
    let running = Running::start(DEMO, &connectors);
    running.broker.put_redelivered(QUEUE, Envelope { body: "no message".into(), ..Envelope::default() }, 7);
    running.broker.put_redelivered(QUEUE, to("+1"), 7);
    for letter in running.dead(2).await {
        assert_poison(&letter, QUEUE);
    }
    running.idle().await;
    assert!(running.broker.waiting("postern.reports").is_empty() && asked.lock().unwrap().is_empty());
    let text = running.metrics.text();
    assert!(text.contains("postern_dead_letters_total{backend=\"demo\",class=\"unknown\"} 2"), "{text}");
    running.stop().await;
}

#[tokio::test]
async fn the_application_is_not_called_with_poison() {
    let provider = Provider::answering(answer(204, "")).await;
    let webhook = format!(
        "type = \"webhook\"\nurl = \"{}/hook\"\nsecret = \"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"",
        provider.url
    );
    // Of two dead letters, the webhook reads one. The echo reads none, so that it knows no backend.
    for (application, counted) in [(webhook.as_str(), [1, 1]), ("type = \"echo\"", [0, 2])] {
        let config = format!(
            "[dispatcher]\nbackends = []\nmax_deliveries = 6\n[backends.demo]\ntype = \"console\"\n\
             [application]\n{application}\n"
        );
        let running = Running::start(&config, &ConnectorRegistry::builtin());
        let body = json!({
            "id": MessageId::new(), "backend": "demo", "identity": "+1555", "text": "ping",
            "received_at": "2026-01-01T00:00:00Z",
        });
        let inbound = Envelope::from(&Inbound::from_json(body.to_string().as_bytes()).unwrap());
        running.broker.put_redelivered("postern.inbound", inbound.clone(), 6);
        running.broker.put_redelivered("postern.inbound", inbound.clone(), 7);
        for letter in running.dead(2).await {
            assert_poison(&letter, "postern.inbound");
            assert_eq!(letter.body, inbound.body);
        }
        running.idle().await;
        assert!(running.broker.waiting(QUEUE).is_empty(), "the echo says nothing");
        assert_eq!(["demo", "unknown"].map(|backend| running.dead_counted(backend, "unknown")), counted);
        running.stop().await;
    }
    assert!(provider.received().is_empty());
}

#[tokio::test]
async fn what_an_earlier_version_set_apart_goes_back_to_its_queue() {
    let (connectors, asked) = noting();
    let broker = MemoryBroker::default();
    let apart = |identity: &str, queue: &str| {
        to(identity).with(header::QUEUE, queue).with("x-postern-crashes", 2).with(header::ATTEMPT, 3)
    };
    broker.put_redelivered(QUARANTINE, apart("+1", QUEUE), 4);
    broker.put_redelivered(QUARANTINE, apart("+2", "postern.outbound.other.bulk"), 0);
    broker.put_redelivered(QUARANTINE, to("+3"), 0);
    let running = Running::on(broker, DEMO, &connectors);
    running.reports(1).await;
    let dead = running.dead(1).await;
    assert!(dead[0].text_header(header::REASON).unwrap().contains("the queue that it came from"), "{dead:?}");
    until("another process's", || running.broker.waiting("postern.outbound.other.bulk").len() == 1).await;
    let back = running.broker.waiting("postern.outbound.other.bulk").remove(0);
    let headers: Vec<_> = back.headers.keys().map(String::as_str).collect();
    assert_eq!(headers, ["x-own", header::ATTEMPT], "as it was before");
    assert_eq!(*asked.lock().unwrap(), ["+1"]);
    assert!(running.broker.waiting(QUARANTINE).is_empty());
    running.stop().await;
}
