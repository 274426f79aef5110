//! A connector's life: started, called, stopped, and what others see of it.

use crate::setup::{Running, message, until};
use async_trait::async_trait;
use postern_broker::memory::MemoryBroker;
use postern_config::{ProviderRegistry, backend::connector::ConnectorDirection};
use postern_dispatcher::connectors::{
    Backend, Connector, ConnectorContext, ConnectorRegistry, Outcomes, Sent,
};
use postern_service::{health::BackendHealth, heartbeat::Heartbeats};
use postern_shared::message::{Context, Identity, Inbound, MessageId, Priority, Recipient, Report, State};
use std::{
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};
use tokio_util::task::TaskTracker;

const TWO: &str =
    "[shutdown]\ndeadline = \"2s\"\n[backends.demo]\ntype = \"custom\"\n[backends.other]\ntype = \"console\"";

/// The steps that a connector went through, in order.
type Steps = Arc<Mutex<Vec<String>>>;

/// A connector that notes what is done with it. Its start fails `failures` times.
#[derive(Clone, Default)]
struct Session {
    steps: Steps,
    failures: Arc<Mutex<u32>>,
    context: Arc<Mutex<Option<ConnectorContext>>>,
    tasks: TaskTracker,
    /// Never stops by itself.
    stuck: bool,
    /// Finishes a send only when it has been told to shut down.
    held: bool,
}

impl Session {
    fn note(&self, step: impl Into<String>) {
        self.steps.lock().unwrap().push(step.into());
    }

    fn steps(&self) -> Vec<String> {
        self.steps.lock().unwrap().clone()
    }

    fn context(&self) -> ConnectorContext {
        self.context.lock().unwrap().clone().expect("it was started")
    }

    fn registry(&self) -> ConnectorRegistry {
        let session = self.clone();
        ConnectorRegistry::builtin().with("custom", move |_| Ok(Starting(session.clone()))).unwrap()
    }
}

/// A session that is not started yet.
struct Starting(Session);

#[async_trait]
impl Connector for Starting {
    async fn start(self: Arc<Self>, context: ConnectorContext) -> Result<Arc<dyn Backend>, String> {
        let session = &self.0;
        {
            let mut failures = session.failures.lock().unwrap();
            if *failures > 0 {
                *failures -= 1;
                return Err("connection refused".to_owned());
            }
        }
        session.note("started");
        let (own, shutdown) = (session.clone(), context.shutdown.clone());
        session.tasks.spawn(async move {
            shutdown.cancelled().await;
            own.note("told to shut down");
        });
        session.tasks.close();
        *session.context.lock().unwrap() = Some(context);
        Ok(Arc::new(session.clone()))
    }
}

#[async_trait]
impl Backend for Session {
    async fn send(&self, _: MessageId, _: &str, _: &[Identity], _: &Context) -> Outcomes {
        self.note("called");
        if self.held {
            // A message that is in flight when the drain begins is still sent.
            until("the shutdown", || self.steps().contains(&"told to shut down".to_owned())).await;
        }
        self.note("sent");
        Outcomes::every(Ok(Sent::without_id()))
    }

    async fn stop(&self) {
        if self.stuck {
            std::future::pending().await
        }
        self.tasks.wait().await;
        self.note("stopped");
    }
}

#[tokio::test]
async fn it_is_started_called_told_to_shut_down_and_stopped_in_this_order() {
    let session = Session { held: true, ..Session::default() };
    let running = Running::start(&TWO.replace("2s", "1m"), &session.registry());
    running.queue("demo", Priority::Normal, message(&["+1"])).await;
    until("the call", || session.steps() == ["started", "called"]).await;
    let broker = running.stop().await;
    assert_eq!(session.steps(), ["started", "called", "told to shut down", "sent", "stopped"]);
    assert_eq!(broker.waiting("postern.reports").len(), 1);
    assert_eq!((broker.leased(), broker.waiting("postern.outbound.demo").len()), (0, 0));
}

#[tokio::test]
async fn one_that_does_not_start_holds_up_nobody_and_is_started_again() {
    let session = Session::default();
    *session.failures.lock().unwrap() = u32::MAX;
    let running = Running::start(TWO, &session.registry());
    running.queue("demo", Priority::Normal, message(&["+1"])).await;
    let other = message(&["+2"]).replace("demo", "other");
    running.queue("other", Priority::Normal, other).await;
    assert_eq!(running.reports(1).await[0].backend.as_str(), "other");
    let [(backend, health)] = &running.health.not_ready()[..] else { panic!("one is not ready") };
    assert_eq!(backend.as_str(), "demo");
    assert_eq!(*health, BackendHealth::NotBound { why: "connection refused".to_owned() });
    assert_eq!(running.broker.waiting("postern.outbound.demo").len(), 1, "its messages wait in their queue");
    *session.failures.lock().unwrap() = 0;
    assert_eq!(running.reports(2).await[1].backend.as_str(), "demo");
    assert!(running.health.not_ready().is_empty());
    running.stop().await;
}

#[tokio::test]
async fn one_that_never_starts_or_never_stops_does_not_keep_the_process() {
    for session in [Session { stuck: true, ..Session::default() }, Session::default()] {
        if !session.stuck {
            *session.failures.lock().unwrap() = u32::MAX;
        }
        let running = Running::start(TWO, &session.registry());
        let stuck = session.stuck;
        until("the start", || stuck == running.health.not_ready().is_empty()).await;
        let begun = Instant::now();
        running.stop().await;
        assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn what_it_receives_is_published_and_its_health_is_seen() {
    let session = Session::default();
    let running = Running::start(TWO, &session.registry());
    until("the start", || !session.steps().is_empty()).await;
    let context = session.context();
    let demo = context.backend.clone();
    let inbound = Inbound::new(demo.clone(), "+1".parse().unwrap(), "ping").with_external_id("7");
    context.publisher.inbound(&inbound).await.unwrap();
    let published = running.broker.waiting("postern.inbound");
    assert_eq!(Inbound::from_json(&published[0].body).unwrap(), inbound);
    let report = report(&inbound);
    context.publisher.report(&report).await.unwrap();
    assert_eq!(running.reports(1).await, [report]);
    context.health.not_bound("bind refused");
    assert_eq!(running.health.of(&demo).to_string(), "is not bound: bind refused");
    context.health.bound();
    assert_eq!(running.health.of(&demo), BackendHealth::Ready);
    running.broker.fail_publishes(1);
    assert!(context.publisher.inbound(&inbound).await.is_err(), "what is not stored is not taken over");
    running.stop().await;
}

fn report(inbound: &Inbound) -> Report {
    Report {
        message_id: MessageId::new(),
        backend: inbound.backend.clone(),
        attempt: 0,
        at: inbound.received_at,
        recipients: vec![Recipient {
            identity: Some(inbound.identity.clone()),
            state: State::Delivered,
            external_id: None,
            external_ids: Vec::new(),
            segments: None,
            reason: None,
            http_status: None,
            duration_ms: None,
        }],
    }
}

#[test]
fn a_registered_kind_says_whether_it_sends_and_needs_no_url() {
    let make = |_: &postern_config::backend::BackendConfig| Ok(Session::default());
    let connectors = ConnectorRegistry::builtin();
    let connectors = connectors.with("modem", make).unwrap().with_receiver("scanner", make).unwrap();
    assert!(connectors.clone().with("modem", make).is_err());
    let mut providers = ProviderRegistry::builtin();
    connectors.add_to(&mut providers).unwrap();
    assert_eq!(providers.known_connectors(), "console, http, modem, scanner");
    let text = "[backends.a]\ntype = \"modem\"\nsend = { recipients = \"list\", batch = 7 }\n\
                [backends.b]\ntype = \"scanner\"\n[backends.c]\ntype = \"http\"\nconnector = \"modem\"";
    let config = postern_config::Config::parse("test", Some(text), [], &providers).unwrap();
    let connector = |name: &str| &config.backends[&name.parse().unwrap()].definition.connector;
    assert!(connector("a").sends() && !connector("b").sends() && connector("c").sends());
    assert_eq!((connector("a").calls().batch, connector("b").calls().batch), (7, 100));
    assert_eq!(connector("c").kind(), "modem");
    assert!(matches!(
        connector("b"),
        postern_config::backend::connector::ConnectorConfig::Registered(registered)
            if registered.direction == ConnectorDirection::ReceivesOnly
    ));
    let wrong = "[backends.a]\ntype = \"modem\"\nsend = { url = \"http://h/\", batch = 0 }";
    let why = postern_config::Config::parse("test", Some(wrong), [], &providers).unwrap_err().to_string();
    assert!(why.contains("backends.a.send.url: unknown key") && why.contains("send.batch"), "{why}");
}

/// A connector that blocks its thread at the start until the other end of the channel is dropped.
struct Blocking(Arc<Mutex<mpsc::Receiver<()>>>);

#[async_trait]
impl Connector for Blocking {
    async fn start(self: Arc<Self>, _: ConnectorContext) -> Result<Arc<dyn Backend>, String> {
        let _ = self.0.lock().unwrap().recv();
        Err("held up".to_owned())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_backend_that_is_held_up_gives_no_sign_of_life() {
    let (release, held) = mpsc::sync_channel::<()>(0);
    let held = Arc::new(Mutex::new(held));
    let connectors =
        ConnectorRegistry::builtin().with("custom", move |_| Ok(Blocking(held.clone()))).unwrap();
    let heartbeats = Heartbeats::every(Duration::from_millis(5));
    let running = Running::watched(MemoryBroker::default(), TWO, &connectors, heartbeats.clone());
    let silent = || heartbeats.silent(Instant::now() - Duration::from_millis(200));
    until("the one that is held up to be silent", || silent() == ["demo"]).await;
    drop(release);
    until("both to be alive", || silent().is_empty()).await;
    running.stop().await;
}
