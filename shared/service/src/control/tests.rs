//! What operators' commands do where a part is missing: a control stream that cannot be read, a client's password.

use super::*;
use crate::{configured::Configured, current::Current};
use async_trait::async_trait;
use postern_broker::{Address, Consumer, Depth, Feed, memory::MemoryBroker, subscription};
use postern_config::{Config, ProviderRegistry};
use postern_shared::message::Priority;
use std::sync::Mutex;
use tokio::sync::watch;

#[derive(Debug, Default)]
struct Unreadable {
    broker: MemoryBroker,
    feeds: Mutex<Vec<Feed>>,
}

#[async_trait]
impl Broker for Unreadable {
    async fn publish(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
        self.broker.publish(messages).await
    }

    async fn consume(&self, queue: &QueueName, prefetch: u16) -> Result<Consumer, BrokerError> {
        let (consumer, feed) = subscription(queue.clone(), prefetch);
        self.feeds.lock().unwrap().push(feed);
        Ok(consumer)
    }

    async fn depth(&self, queue: &QueueName) -> Result<Depth, BrokerError> {
        self.broker.depth(queue).await
    }

    fn status(&self) -> watch::Receiver<BrokerStatus> {
        self.broker.status()
    }

    async fn close(&self) {
        self.broker.close().await;
    }
}

/// Carries out commands about the backends `a` and `b`.
fn operator(broker: Arc<dyn Broker>, control: Control) -> Operator {
    let config = "[backends.a]\ntype = \"console\"\n[backends.b]\ntype = \"console\"\n";
    let config = Config::parse("", Some(config), [], &ProviderRegistry::builtin()).unwrap();
    Operator::new(broker, control, Current::new(Configured::of(&config)))
}

#[tokio::test]
async fn a_stream_whose_records_do_not_come_is_not_taken_for_empty() {
    let broker = Arc::new(Unreadable::default());
    let control = Control::new(HealthRegistry::default());
    let operator = operator(broker.clone(), control.clone());
    let command = PlainCommand::default();
    let resumed = operator.resume("a", &command, "ann").await.unwrap();
    assert!(!resumed.changed, "it was not paused");
    let error = control.read(&*broker, Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(error, BrokerError::TimedOut(_)), "{error}");
    control.go_on_without(&error);
    let resumed = operator.resume("a", &command, "ann").await.unwrap();
    assert!(resumed.changed, "nobody knows whether it was paused");
    let moved = MoveCommand { to: "b".to_owned(), dry_run: false, by: None };
    let why = operator.move_messages("a", &moved, "ann").await.unwrap_err().to_string();
    assert!(why.contains("postern.control cannot be read: no answer within 50ms"), "{why}");
}

#[tokio::test]
async fn a_cancelled_message_whose_callbacks_this_process_cannot_make_is_left_to_a_dispatcher() {
    let broker = Arc::new(MemoryBroker::default());
    let operator = operator(broker.clone(), Control::new(HealthRegistry::default()));
    let queue = QueueName::outbound(&"a".parse().unwrap(), Priority::Normal);
    for context in ["{}", "{\"postern:callback\":\"sealed.elsewhere\"}"] {
        let body = format!(
            "{{\"backend\":\"a\",\"identities\":[\"+1\"],\"text\":\"hi\",\"context\":{context},\
             \"created_at\":\"2026-01-01T00:00:00Z\"}}"
        );
        let envelope = Envelope { body: body.into(), ..Envelope::default() };
        broker.publish(vec![(Address::Queue(queue.clone()), envelope)]).await.unwrap();
    }
    let done = operator.cancel("a", &CancelCommand::default(), "ann").await.unwrap();
    assert_eq!((done.waiting, done.messages), (2, 1));
    assert_eq!(broker.depth(&queue).await.unwrap().ready, 1);
}
