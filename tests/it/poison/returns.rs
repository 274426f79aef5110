//! A message that is requeued properly is not poison, no matter how often or why.

use async_trait::async_trait;
use postern_broker::{Address, Broker, BrokerOptions, BrokerStatus, Envelope, QueueName, testing};
use postern_config::{Config, ProviderRegistry, backend::connector::ConnectorDirection};
use postern_dispatcher::{
    Dispatcher,
    connectors::{Backend, ConnectorRegistry, Outcomes, Sent},
};
use postern_service::{
    Monitoring,
    control::Control,
    metrics::Metrics,
    shutdown::{Shutdown, Trigger},
};
use postern_shared::{
    control::{ControlCommand, ControlRecord},
    error::Failure,
    message::{BackendName, Context, Identity, MessageId, Priority},
};
use postern_tests::{Folder, Rabbit, Vhost, eventually};
use serde_json::json;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::Notify, task::JoinHandle};

/// How often the message is requeued for one reason.
const TIMES: u32 = 100;

/// The recipient of the message that is requeued; the message sent before it causes the requeue.
const KEPT: &str = "+1555";

/// The reason for which a message is requeued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The breaker opens while it is prefetched.
    Breaker,
    /// The provider asks for time while it is prefetched.
    Throttle,
    /// An operator pauses the backend while it is prefetched.
    Pause,
    /// The process drains while it is prefetched.
    Drain,
    /// The process ends while it is sent.
    End,
}

impl Way {
    /// The recipient of the message that is sent before it.
    fn decoy(self) -> &'static str {
        match self {
            Self::Breaker => "down",
            Self::Throttle => "busy",
            Self::Pause | Self::Drain | Self::End => "slow",
        }
    }
}

/// The state of the fake sender.
#[derive(Debug, Default)]
struct Stage {
    /// The recipients of all sends so far.
    asked: Mutex<Vec<String>>,
    /// Lets the sending of the first message end.
    answers: Notify,
    /// Whether everything is sent.
    sends: bool,
}

#[derive(Debug, Clone)]
struct Actor(Arc<Stage>);

#[async_trait]
impl Backend for Actor {
    async fn send(&self, _: MessageId, _: &str, identities: &[Identity], _: &Context) -> Outcomes {
        let identity = identities[0].as_str();
        self.0.asked.lock().unwrap().push(identity.to_owned());
        Outcomes::every(match identity {
            _ if self.0.sends => Ok(Sent::without_id()),
            KEPT => std::future::pending().await,
            decoy => {
                self.0.answers.notified().await;
                match decoy {
                    "down" => Err(Failure::transient("connect", "")),
                    "busy" => Err(Failure::throttled("http_429", "", Some(Duration::from_secs(60)))),
                    _ => Ok(Sent::without_id()),
                }
            }
        })
    }
}

/// The broker that the messages are in.
enum Place {
    Rabbit(Vhost),
    Embedded(Folder),
}

fn config() -> Config {
    let text = "[dispatcher]\nconcurrency = 1\n[retry]\ndelays = [\"1h\"]\n[shutdown]\ndeadline = \"100ms\"\n\
                [backends.x]\ntype = \"actor\"\nbreaker = { failures = 1, pause = \"1h\", max_pause = \"1h\" }\n";
    let mut providers = ProviderRegistry::builtin();
    providers.add_connector("actor", ConnectorDirection::Sends).unwrap();
    Config::parse("test", Some(text), [], &providers).unwrap()
}

impl Place {
    async fn open(&self) -> Arc<dyn Broker> {
        let url = match self {
            Self::Rabbit(vhost) => vhost.url(),
            Self::Embedded(folder) => format!("embedded:{}", folder.path().join("broker").display()),
        };
        let config = config();
        let options = BrokerOptions {
            publish_timeout: Duration::from_secs(10),
            max_deliveries: config.dispatcher.max_deliveries,
            ..testing::options(postern_service::topology(&config))
        };
        let broker = postern_service::broker::connect(&url, options, None).await.unwrap().broker;
        broker.status().wait_for(|status| *status == BrokerStatus::Ready).await.unwrap();
        broker
    }
}

fn queue(lane: Priority) -> QueueName {
    QueueName::outbound(&backend(), lane)
}

fn backend() -> BackendName {
    "x".parse().unwrap()
}

async fn post(broker: &dyn Broker, lane: Priority, identity: &str) {
    let body = json!({"backend": "x", "identities": [identity], "text": "hi"}).to_string();
    let envelope = Envelope { body: body.into(), ..Envelope::default() };
    broker.publish(vec![(Address::Outbound(backend(), lane), envelope)]).await.unwrap();
}

/// Waits until `ready` messages wait in the queue of the message under test.
async fn kept_waits(broker: &dyn Broker, ready: u64) {
    eventually("the message to be taken or back", async || {
        match broker.depth(&queue(Priority::Bulk)).await {
            Ok(depth) if depth.ready == ready => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// A running dispatcher.
struct Running {
    stage: Arc<Stage>,
    control: Control,
    trigger: Trigger,
    task: JoinHandle<()>,
}

impl Running {
    fn on(broker: &Arc<dyn Broker>, stage: Stage) -> Self {
        let stage = Arc::new(stage);
        let actor = Actor(stage.clone());
        let connectors = ConnectorRegistry::builtin().with("actor", move |_| Ok(actor.clone())).unwrap();
        let validated = postern_dispatcher::validate(Arc::new(config()), &connectors).unwrap();
        let monitoring = Monitoring::new(Metrics::new("test", "0").unwrap());
        let dispatcher = Dispatcher::new(validated, broker.clone(), &monitoring).unwrap();
        let control = monitoring.control;
        let (trigger, shutdown) = Shutdown::new();
        let task = tokio::spawn(async move { dispatcher.run(shutdown).await.map(|_| ()).unwrap() });
        Self { stage, control, trigger, task }
    }

    /// The first recipient, once a send has begun.
    async fn first(&self) -> String {
        let asked = || self.stage.asked.lock().unwrap().first().cloned();
        eventually("somebody to be sent to", async || asked().ok_or_else(|| "nobody".to_owned())).await
    }

    async fn stop(self) {
        self.trigger.drain();
        self.task.await.unwrap();
    }
}

/// Tries to have the message requeued for this reason. Returns whether it was.
async fn returned(broker: &Arc<dyn Broker>, way: Way) -> bool {
    if way != Way::End {
        post(&**broker, Priority::Normal, way.decoy()).await;
    }
    let running = Running::on(broker, Stage::default());
    let decoy_is_first = running.first().await != KEPT;
    kept_waits(&**broker, 0).await;
    match way {
        Way::Breaker | Way::Throttle if decoy_is_first => {
            running.stage.answers.notify_one();
            kept_waits(&**broker, 1).await;
        }
        Way::Pause if decoy_is_first => {
            let pause = ControlCommand::Pause { backend: backend() };
            running.control.apply(&ControlRecord::now(pause, "an operator"));
            kept_waits(&**broker, 1).await;
            running.stage.answers.notify_one();
        }
        Way::Drain if decoy_is_first => {
            running.trigger.drain();
            running.stage.answers.notify_one();
        }
        // The process ends while the message is being sent.
        _ => {}
    }
    running.stop().await;
    kept_waits(&**broker, 1).await;
    decoy_is_first != (way == Way::End)
}

async fn is_no_poison(place: Place, way: Way) {
    let mut broker = place.open().await;
    post(&*broker, Priority::Bulk, KEPT).await;
    let mut times = 0;
    for round in 0.. {
        // Now and then the two messages arrive in the wrong order, and the round does not count.
        assert!(round < 10 * TIMES, "{times} of {round} times in this way");
        times += u32::from(returned(&broker, way).await);
        if times == TIMES {
            break;
        }
        if way == Way::End {
            broker.close().await;
            broker = place.open().await;
        }
    }
    let mut consumer = broker.consume(&queue(Priority::Bulk), 1).await.unwrap();
    let delivery = consumer.next().await.unwrap();
    let half = config().dispatcher.max_deliveries / 2;
    assert!(delivery.lost <= half, "{} losses are counted", delivery.lost);
    delivery.release();
    consumer.close().await;

    let running = Running::on(&broker, Stage { sends: true, ..Stage::default() });
    eventually("the message to be sent", async || {
        let asked = running.stage.asked.lock().unwrap().clone();
        if asked.iter().any(|identity| identity == KEPT) { Ok(()) } else { Err(format!("{asked:?}")) }
    })
    .await;
    running.stop().await;
    assert_eq!(broker.depth(&QueueName::dead()).await.unwrap().ready, 0);
    broker.close().await;
}

macro_rules! ways {
    ($($name:ident: $way:ident;)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread")]
            async fn rabbitmq() {
                is_no_poison(Place::Rabbit(Rabbit::shared().vhost()), Way::$way).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn embedded() {
                is_no_poison(Place::Embedded(Folder::new()), Way::$way).await;
            }
        }
    )*};
}
ways! {
    by_the_breaker: Breaker;
    by_a_provider_that_asks_for_time: Throttle;
    by_an_operators_pause: Pause;
    by_a_drain: Drain;
    by_the_end_of_its_process: End;
}
