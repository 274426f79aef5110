//! When what is in the quarantine is tried: the loop, and what keeps everything else waiting meanwhile.

use super::{First, HAND_BACK, Quarantine, crashes};
use crate::{consume::subscribe, drain::Drain};
use futures_util::FutureExt;
use postern_broker::{Broker, BrokerError, Consumer, QueueName, Status};
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// How long a trial waits for everything else to be finished; then it begins all the same. And how
/// long trials may keep everything else waiting.
const ALONE: Duration = Duration::from_secs(30);
/// How long what waits in the quarantine of a starting process may take to come, before other work
/// begins: another process may have it.
const FIRST_COMES: Duration = Duration::from_secs(5);
/// How long the next one may take to come, before other work goes on.
const NEXT_COMES: Duration = Duration::from_millis(500);

/// While there is one, nothing but trials is worked on.
pub(super) struct Alone {
    /// None where the others did not finish in time.
    _guard: Option<First>,
    /// When the others are to go on.
    until: Instant,
    /// How long the next message may take to come.
    patience: Duration,
}

impl Alone {
    fn new(guard: Option<First>, patience: Duration) -> Self {
        Self { _guard: guard, until: Instant::now() + ALONE, patience }
    }

    /// When the others are to go on if nothing comes.
    fn ends(&self) -> Instant {
        self.until.min(Instant::now() + self.patience)
    }
}

impl Quarantine {
    /// Tries what is set apart, one at a time, until the drain begins.
    ///
    /// # Errors
    /// The broker was closed.
    pub(crate) async fn run(
        &self,
        broker: &dyn Broker,
        drain: Drain,
        first: Option<First>,
    ) -> Result<(), BrokerError> {
        let queue = QueueName::quarantine();
        let mut alone = first.map(|guard| Alone::new(Some(guard), FIRST_COMES));
        let mut starting = true;
        loop {
            let subscribed = async {
                if std::mem::take(&mut starting) && is_empty(broker).await {
                    alone = None;
                }
                subscribe(broker, &queue, 1).await
            };
            let consumer = tokio::select! {
                consumer = subscribed => consumer?,
                () = drain.started() => return Ok(()),
            };
            if !self.take_from(consumer, &drain, &mut alone).await? {
                return Ok(());
            }
            // Nothing is held while the others finish.
            let guard = tokio::select! {
                guard = timeout(ALONE, self.trial.clone().write_owned()) => guard.ok(),
                () = drain.started() => return Ok(()),
            };
            alone = Some(Alone::new(guard, NEXT_COMES));
        }
    }

    /// Tries what comes from `consumer`, until the drain begins, or one comes that is to be tried
    /// alone, which is then at the queue's end: `true`.
    async fn take_from(
        &self,
        mut consumer: Consumer,
        drain: &Drain,
        alone: &mut Option<Alone>,
    ) -> Result<bool, BrokerError> {
        loop {
            let ends = alone.as_ref().map_or_else(Instant::now, Alone::ends);
            let delivery = tokio::select! {
                biased;
                () = drain.started() => break,
                next = consumer.next() => next.ok_or(BrokerError::Closed)?,
                () = sleep_until(ends), if alone.is_some() => {
                    *alone = None;
                    continue;
                }
            };
            drain.begun();
            let _ended = drain.clone().ends();
            let again = {
                let mut judged = std::pin::pin!(self.judge(delivery, drain, alone));
                tokio::select! {
                    again = &mut judged => again,
                    // Nothing more is taken while this one is finished.
                    () = drain.started() => {
                        let ended = async {
                            if let Some((delivery, crashes)) = judged.await {
                                self.postpone(delivery, crashes).await;
                            }
                        };
                        let both = async { tokio::join!(ended, consumer.close()) };
                        let _ = tokio::time::timeout_at(drain.deadline() + HAND_BACK, both).await;
                        return Ok(false);
                    }
                }
            };
            if let Some((delivery, crashes)) = again {
                let _ = timeout(HAND_BACK, consumer.stop()).await;
                self.postpone(delivery, crashes).await;
                let _ = timeout(HAND_BACK, consumer.close()).await;
                return Ok(true);
            }
            match alone {
                Some(one) if one.until > Instant::now() => one.patience = NEXT_COMES,
                _ => *alone = None,
            }
        }
        self.hand_back(consumer).await;
        Ok(false)
    }

    /// Lets go of the consumer, and of the message that it may have taken already.
    async fn hand_back(&self, mut consumer: Consumer) {
        let back = async {
            if let Some(Some(delivery)) = consumer.next().now_or_never() {
                let crashes = crashes(&delivery.envelope).unwrap_or_default() + delivery.returned;
                self.postpone(delivery, crashes).await;
            }
            consumer.close().await;
        };
        let _ = timeout(HAND_BACK, back).await;
    }
}

/// Whether nothing waits in the quarantine, once the broker can be asked.
async fn is_empty(broker: &dyn Broker) -> bool {
    let usable = |status: &Status| !matches!(status, Status::Connecting(_));
    let _ = broker.status().wait_for(usable).await;
    broker.depth(&QueueName::quarantine()).await.is_ok_and(|depth| depth.ready == 0)
}
