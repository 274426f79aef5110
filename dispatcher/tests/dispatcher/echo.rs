//! The application that answers every message with its own text.

use crate::setup::{Running, TRACE, until};
use postern_broker::{Address, Broker, Envelope, header, memory::MemoryBroker};
use postern_dispatcher::connectors::ConnectorRegistry;
use postern_shared::message::{Inbound, MessageId, Outbound};
use serde_json::json;

const CONFIG: &str = "[application]\ntype = \"echo\"\n[dispatcher]\nbackends = []\n\
                      [backends.demo]\ntype = \"console\"\n[backends.mute]\ntype = \"http\"\n";

async fn write_in(broker: &MemoryBroker, body: String) {
    let address = Address::Inbound("demo".parse().unwrap());
    let envelope = Envelope { body: body.into(), ..Envelope::default() };
    broker.publish(vec![(address, envelope.with(header::TRACEPARENT, TRACE))]).await.unwrap();
}

fn inbound(backend: &str, text: &str) -> Inbound {
    let body = json!({
        "id": MessageId::new(), "backend": backend, "identity": "+1555", "text": text,
        "external_id": "abc", "received_at": "2026-01-01T00:00:00Z",
    });
    Inbound::from_json(body.to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn every_text_is_answered_under_an_id_that_stays() {
    let running = Running::start(CONFIG, &ConnectorRegistry::builtin());
    let message = inbound("demo", "ping");
    for _ in 0..2 {
        write_in(&running.broker, String::from_utf8(message.to_json()).unwrap()).await;
    }
    let queue = "postern.outbound.demo";
    until("answers", || running.broker.waiting(queue).len() == 2).await;
    running.idle().await;
    let answers = running.broker.waiting(queue);
    let answer = Outbound::from_json(&answers[0].body).unwrap();
    assert_eq!((answer.text.as_str(), answer.identities[0].as_str()), ("ping", "+1555"));
    assert_eq!(answer.context["in_response_to"], message.id.to_string());
    assert_eq!(answer.context["external_id"], "abc");
    assert_eq!(answers[0].text_header(header::TRACEPARENT), Some(TRACE));
    assert_eq!(Outbound::from_json(&answers[1].body).unwrap().id, answer.id);
    assert_ne!(answer.id, message.id);
    running.stop().await;
}

#[tokio::test]
async fn nothing_is_answered_to_nothing_and_nothing_malformed_is_lost() {
    let running = Running::start(CONFIG, &ConnectorRegistry::builtin());
    write_in(&running.broker, String::from_utf8(inbound("demo", "").to_json()).unwrap()).await;
    write_in(&running.broker, String::from_utf8(inbound("mute", "ping").to_json()).unwrap()).await;
    write_in(&running.broker, "no JSON".to_owned()).await;
    let letter = running.dead(1).await.remove(0);
    assert_eq!(letter.body, "no JSON");
    assert_eq!(letter.text_header(header::QUEUE), Some("postern.inbound"));
    running.idle().await;
    let broker = running.stop().await;
    for queue in ["postern.outbound.demo", "postern.outbound.mute", "postern.inbound"] {
        assert!(broker.waiting(queue).is_empty(), "{queue}");
    }
}

#[tokio::test]
async fn an_answer_that_cannot_be_stored_is_tried_again() {
    let running = Running::start(CONFIG, &ConnectorRegistry::builtin());
    write_in(&running.broker, String::from_utf8(inbound("demo", "ping").to_json()).unwrap()).await;
    running.broker.fail_publishes(2);
    until("an answer", || running.broker.waiting("postern.outbound.demo").len() == 1).await;
    running.idle().await;
    assert!(running.stop().await.waiting("postern.inbound").is_empty());
}
