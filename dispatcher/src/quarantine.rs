//! Emptying `postern.quarantine`, in which earlier versions set messages apart that may have crashed
//! their process. Each message goes back to the queue that it came from; RabbitMQ's queue is deleted
//! once it is empty. To be removed with the version after this one.

use crate::{dead_letter::unread, drain::Drain, publish::Publisher};
use postern_broker::{Address, Broker, BrokerError, BrokerStatus, Envelope, QueueName, header};
use postern_service::traces::Scope;
use postern_shared::error::Failure;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How often its process crashed with a message that was set apart. Earlier versions set this header.
const CRASHES: &str = "x-postern-crashes";
/// How long a message that was counted may take to come. Beyond, another process has it.
const COMES: Duration = Duration::from_secs(5);
/// How long the broker may take to hear that nothing more is taken.
const CLOSES: Duration = Duration::from_secs(2);
/// The pause between two looks at the queue: a process of an earlier version may fill it again.
const LOOKS: Duration = Duration::from_secs(10);

/// Moves what is in the quarantine back, until that queue is gone or the drain begins. A message
/// that is being moved then is moved to the end.
pub(crate) async fn empty_quarantine(broker: &dyn Broker, publisher: &Publisher, drain: &Drain) {
    let queue = QueueName::quarantine();
    loop {
        let look = async {
            let usable = |status: &BrokerStatus| {
                !matches!(status, BrokerStatus::Starting(_) | BrokerStatus::Connecting(_))
            };
            let _ = broker.status().wait_for(usable).await;
            broker.depth(&queue).await
        };
        let found = tokio::select! {
            found = look => found,
            () = drain.started() => return,
        };
        match found {
            Ok(depth) if depth.ready > 0 => move_back(broker, publisher, drain).await,
            Ok(_) => {}
            Err(BrokerError::Refused(_) | BrokerError::Closed) => return,
            Err(error) => {
                tracing::debug!(queue = queue.as_str(), %error, "messages cannot be counted, retrying")
            }
        }
        tokio::select! {
            () = sleep(LOOKS) => {}
            () = drain.started() => return,
        }
    }
}

/// Moves messages back until none comes.
async fn move_back(broker: &dyn Broker, publisher: &Publisher, drain: &Drain) {
    let queue = QueueName::quarantine();
    let Ok(mut consumer) = broker.consume(&queue, 1).await else { return };
    loop {
        let next = tokio::select! {
            biased;
            () = drain.started() => None,
            next = timeout(COMES, consumer.next()) => next.ok().flatten(),
        };
        let Some(delivery) = next else { break };
        let messages = restored(&delivery.envelope);
        tracing::info!(
            queue = queue.as_str(),
            to = messages[0].0.queue().as_str(),
            "requeued from the quarantine of an earlier version"
        );
        if !publisher.settle(delivery, &queue, messages, &Scope::default()).await {
            break;
        }
    }
    let _ = timeout(CLOSES, consumer.close()).await;
}

/// The message as it was in the queue that it came from; a dead letter if it does not name one.
fn restored(original: &Envelope) -> Vec<(Address, Envelope)> {
    let mut envelope = original.clone();
    envelope.headers.remove(CRASHES);
    envelope.headers.remove(header::QUEUE);
    match original.text_header(header::QUEUE).and_then(QueueName::known) {
        Some(origin) => vec![(Address::Queue(origin), envelope)],
        None => {
            let failure = Failure::permanent("quarantine", "it does not name the queue that it came from");
            unread(&envelope, &QueueName::quarantine(), &failure)
        }
    }
}
