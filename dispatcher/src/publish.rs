//! Publishes what became of a message: retries until the broker accepts it, in a smaller form if the broker
//! will never accept it unchanged.
//!
//! `postern_broker::refused` says what is left of a message after each refusal: first it loses an
//! application's headers, then a report loses its details, then it is halved by recipients, and at last it
//! becomes a dead letter. That module does no I/O; the publishing is here. The spool forwards by the same
//! steps, and ends with a file instead of a cut body.

use crate::metrics::{DeadLetterMetrics, DispatcherMetrics};
use postern_broker::{
    Address, Broker, BrokerError, CUT_BODY, Delivery, Envelope, QueueName, header, refused::Remainder,
};
use postern_service::{
    metrics::{PublishMetrics, Remains},
    traces::Scope,
};
use postern_shared::{
    backoff::Backoff,
    error::FailureClass,
    message::{BackendName, MessageId},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::field::display;

/// The pauses between the attempts to publish.
fn backoff() -> Backoff {
    Backoff::new(Duration::from_millis(100), Duration::from_secs(5))
}

/// Publishes to the broker, and counts what it publishes.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    broker: Arc<dyn Broker>,
    metrics: PublishMetrics,
    dead_letters: DeadLetterMetrics,
}

impl Publisher {
    /// Publishes to `broker`, and counts in `metrics`.
    pub(crate) fn new(broker: Arc<dyn Broker>, metrics: &DispatcherMetrics) -> Self {
        Self { broker, metrics: metrics.publish.clone(), dead_letters: metrics.dead_letters.clone() }
    }

    /// Publishes `messages`, with spans below `scope`, until the broker confirms them all. `false`: the broker
    /// was closed.
    ///
    /// Meanwhile the message is not sent again, since its delivery is not settled. Only a broker that
    /// accepts nothing until the [lease](crate::lease) ends causes a duplicate. What the broker will never
    /// accept is stored in a smaller form. If it accepts no form, that is counted and logged, and the
    /// message still counts as settled: if it were requeued, it would be sent again each time that it is
    /// taken.
    pub(crate) async fn publish(&self, mut messages: Vec<(Address, Envelope)>, scope: &Scope) -> bool {
        let sends = scope.sends(&mut messages);
        let dead: Vec<_> = messages.iter().filter_map(DeadLetterLine::of).collect();
        let stored = self.store_all(messages).await;
        sends.end(if stored { Ok(()) } else { Err(&BrokerError::Closed) });
        if stored {
            dead.iter().for_each(DeadLetterLine::write);
        }
        stored
    }

    async fn store_all(&self, messages: Vec<(Address, Envelope)>) -> bool {
        if messages.len() > 1 {
            match self.publish_until_answered(&messages).await {
                Ok(()) => return true,
                // Publishing each message alone shows which one was refused.
                Err(BrokerError::Refused(_)) => {}
                Err(_) => return false,
            }
        }
        for message in messages {
            if self.store(message).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Publishes `messages` and then acknowledges `delivery`, which came from `queue`, with spans below
    /// `scope`. If the broker was closed before it confirmed them, requeues `delivery` and returns `false`.
    pub(crate) async fn settle(
        &self,
        delivery: Delivery,
        queue: &QueueName,
        messages: Vec<(Address, Envelope)>,
        scope: &Scope,
    ) -> bool {
        let stored = self.publish(messages, scope).await;
        if stored {
            delivery.ack();
            scope.acknowledged(queue);
        } else {
            delivery.release();
            scope.requeued(queue);
        }
        stored
    }

    /// How many messages wait in `queue`; `None` if the broker does not say.
    pub(crate) async fn waiting_in(&self, queue: &QueueName) -> Option<u64> {
        self.broker.depth(queue).await.ok().map(|depth| depth.ready)
    }

    /// Publishes `messages`. They are stored once this returns `Ok`.
    ///
    /// # Errors
    /// The broker did not confirm them all.
    pub(crate) async fn publish_once(&self, messages: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
        let queues: Vec<_> = messages.iter().map(|(address, _)| address.queue()).collect();
        let dead: Vec<_> = messages.iter().filter_map(labels_of_dead_letter).collect();
        let begun = Instant::now();
        let published = self.broker.publish(messages).await;
        for queue in &queues {
            self.metrics.published(queue, published.is_ok(), begun.elapsed().as_secs_f64());
        }
        if published.is_ok() {
            dead.iter().for_each(|(backend, class)| self.dead_letters.count(backend, *class));
        }
        published
    }

    /// Publishes `messages`, and retries until the broker confirms or refuses them.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] or [`BrokerError::Closed`].
    async fn publish_until_answered(&self, messages: &[(Address, Envelope)]) -> Result<(), BrokerError> {
        let mut backoff = backoff();
        loop {
            match self.publish_once(messages.to_vec()).await {
                Ok(()) => return Ok(()),
                Err(error @ (BrokerError::Closed | BrokerError::Refused(_))) => return Err(error),
                Err(error) => {
                    let pause = backoff.pause();
                    let seconds = pause.as_secs_f64();
                    let queue = messages.first().map(|(address, _)| display(address.queue()));
                    tracing::warn!(queue, %error, seconds, "publish not confirmed, retrying");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// Publishes `message`, or what the broker accepts of it.
    ///
    /// # Errors
    /// [`BrokerError::Closed`].
    async fn store(&self, message: (Address, Envelope)) -> Result<(), BrokerError> {
        let Some(why) = self.refusal(&message).await? else { return Ok(()) };
        let (queue, message_id) = (message.0.queue(), message.1.id());
        let mut remainder = Remainder::of(message, &why);
        while let Some(piece) = remainder.next_piece() {
            if let Some(why) = self.refusal(&piece).await? {
                remainder.refuse(piece, &why);
            }
        }
        let mut remains = Remains::Smaller;
        for letter in remainder.into_lost() {
            remains = remains.min(self.store_cut(letter).await?);
        }
        let (queue, message_id) = (queue.as_str(), message_id.map(display));
        match remains {
            Remains::Smaller => {
                tracing::warn!(
                    queue,
                    message_id,
                    error = why,
                    "outcome of a message refused by the broker: stored in a smaller form"
                );
            }
            Remains::Cut => {
                tracing::error!(
                    queue,
                    message_id,
                    error = why,
                    "outcome of a message refused by the broker: dead-lettered with its body cut"
                );
            }
            Remains::Nothing => {
                tracing::error!(
                    queue,
                    message_id,
                    error = why,
                    "message lost: the broker refused its outcome, and refused it as a dead letter too"
                );
            }
        }
        self.metrics.refused(remains, &why);
        Ok(())
    }

    /// Publishes the dead letter `letter` with less and less of its body.
    async fn store_cut(&self, letter: (Address, Envelope)) -> Result<Remains, BrokerError> {
        for bytes in [CUT_BODY, 0].into_iter().filter(|bytes| *bytes < letter.1.body.len()) {
            let cut = (letter.0.clone(), letter.1.clone().cut(bytes));
            if self.refusal(&cut).await?.is_none() {
                return Ok(Remains::Cut);
            }
        }
        Ok(Remains::Nothing)
    }

    /// Why the broker will never accept `message`. `None` once it is stored.
    ///
    /// # Errors
    /// [`BrokerError::Closed`].
    async fn refusal(&self, message: &(Address, Envelope)) -> Result<Option<String>, BrokerError> {
        match self.publish_until_answered(std::slice::from_ref(message)).await {
            Ok(()) => Ok(None),
            Err(BrokerError::Refused(why)) => Ok(Some(why)),
            Err(closed) => Err(closed),
        }
    }
}

/// The backend and the class of a dead letter. `None` for any other message.
fn labels_of_dead_letter((address, envelope): &(Address, Envelope)) -> Option<(BackendName, FailureClass)> {
    let Address::Dead(backend) = address else { return None };
    Some((backend.clone(), FailureClass::named(envelope.text_header(header::CLASS)?)?))
}

/// What the log says about a dead letter, once it is stored.
#[derive(Debug)]
struct DeadLetterLine {
    backend: BackendName,
    message_id: Option<MessageId>,
    /// The headers that say how it died.
    queue: Option<String>,
    class: Option<String>,
    code: Option<String>,
    attempts: Option<i64>,
}

impl DeadLetterLine {
    /// The line of `message`. `None` if it is no dead letter.
    fn of((address, envelope): &(Address, Envelope)) -> Option<Self> {
        let Address::Dead(backend) = address else { return None };
        let text = |name| envelope.text_header(name).map(str::to_owned);
        Some(Self {
            backend: backend.clone(),
            message_id: envelope.id(),
            queue: text(header::QUEUE),
            class: text(header::CLASS),
            code: text(header::CODE),
            attempts: envelope.integer_header(header::ATTEMPTS),
        })
    }

    fn write(&self) {
        let Self { backend, message_id, queue, class, code, attempts } = self;
        let (backend, message_id) = (backend.as_str(), message_id.map(display));
        tracing::warn!(backend, message_id, queue, class, code, attempts, "dead-lettered");
    }
}
