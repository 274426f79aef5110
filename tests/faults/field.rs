//! One scenario's field: Postern's programs between the clients and the ends, the ledger, and the
//! faults so far.

use crate::{
    ends::Ends,
    ledger::{Ledger, Way, Window},
    load::{Load, Target, time_of_one},
    services::Service,
    table::{Allowance, Row},
};
use postern_broker::{BrokerOptions, BrokerStatus, QueueName, Topology};
use postern_service::broker;
use postern_shared::message::{BackendName, Priority};
use postern_tests::{Launch, Reply, within};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long anything may take that has to happen, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);
/// How long nothing may come of what is outstanding before it counts as lost: longer than the 65
/// seconds that RabbitMQ waits for a queue without a leader, and the 10 until it tries again.
const GIVEN_UP: Duration = Duration::from_secs(120);
/// Beyond that, it is said how long everything took to come out.
const SETTLED: Duration = Duration::from_secs(20);
/// `dispatcher.concurrency`
const CONCURRENCY: usize = 4;
/// What docs/guarantees.md says may be in a dispatcher's hands: twice `concurrency` for each backend
/// and lane. Here these are the backend's two lanes, and the inbound messages to the webhook or, from the
/// application `echo`, the answers to those that came in batches.
pub(crate) const IN_HAND: usize = 3 * 2 * CONCURRENCY;
/// And of the application `echo`, which takes 128 at a time.
pub(crate) const ECHOED: usize = 2 * 128;
/// What docs/guarantees.md says the spool may double: 128 for each queue, of which there are three.
pub(crate) const FORWARDED: usize = 3 * 128;
/// The backend that takes several messages in one request.
const BATCHES: &str = "batches";
const DELAY: Duration = Duration::from_secs(1);
pub(crate) const TOKEN: &str = "the-token-of-the-campaign";

/// What answers people's messages.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Application {
    Webhook,
    Echo,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) ledger: Arc<Ledger>,
    /// The ingress, or the one process.
    pub(crate) front: Service,
    /// The dispatcher, where it is a process of its own.
    pub(crate) back: Option<Service>,
    application: Application,
    url: String,
    target: Target,
    load: Load,
    begun: Instant,
    windows: Vec<Window>,
    /// Whether somebody else publishes, too.
    attacked: bool,
    _ends: Ends,
}

impl Field {
    /// Whether its broker is the embedded one, in front of which there is no spool.
    pub(crate) fn is_embedded(&self) -> bool {
        self.url.starts_with("embedded:")
    }

    /// Both services around the broker at `url`, with a webhook; `more` of `[ingress]`.
    pub(crate) async fn pair(url: &str, more: &str) -> Self {
        let (ledger, target) = (Arc::new(Ledger::default()), Target::default());
        let ends = Ends::start(&ledger).await;
        let config = config(url, more, &ends, Application::Webhook);
        Self::of_two(url, &config, (ledger, target, ends)).await
    }

    /// Both services, whose configuration ends with `sections`, and a backend `hostile`, whose provider
    /// refuses what is not the load's.
    pub(crate) async fn attacked(url: &str, sections: &str) -> Self {
        let (ledger, target) = (Arc::new(Ledger::default()), Target::default());
        let ends = Ends::start(&ledger).await;
        let config = config(url, "", &ends, Application::Webhook);
        let config = format!("{config}{}{sections}", config_of_backend("hostile", &ends));
        Self { attacked: true, ..Self::of_two(url, &config, (ledger, target, ends)).await }
    }

    async fn of_two(url: &str, config: &str, (ledger, target, ends): (Arc<Ledger>, Target, Ends)) -> Self {
        let (front, back) = (Launch::ingress(config), Launch::dispatcher(config).admin_token(TOKEN));
        let (front, back) =
            tokio::join!(Service::start(front, Some(target.clone())), Service::start(back, None));
        Self::new(url, ledger, target, (front, Some(back)), Application::Webhook, ends)
    }

    /// The one process, with the application `echo`.
    pub(crate) async fn gateway(url: &str, more: &str) -> Self {
        let (ledger, target) = (Arc::new(Ledger::default()), Target::default());
        let ends = Ends::start(&ledger).await;
        let launch = Launch::gateway().config(&config(url, more, &ends, Application::Echo));
        let front = Service::start(launch.admin_token(TOKEN), Some(target.clone())).await;
        Self::new(url, ledger, target, (front, None), Application::Echo, ends)
    }

    /// The one process, with a webhook, the backend `x` and another one, `y`.
    pub(crate) async fn alone(url: &str) -> Self {
        let (ledger, target) = (Arc::new(Ledger::default()), Target::default());
        let ends = Ends::start(&ledger).await;
        let config = config(url, "", &ends, Application::Webhook) + &config_of_backend("y", &ends);
        let launch = Launch::gateway().config(&config);
        let front = Service::start(launch.admin_token(TOKEN), Some(target.clone())).await;
        Self::new(url, ledger, target, (front, None), Application::Webhook, ends)
    }

    fn new(
        url: &str,
        ledger: Arc<Ledger>,
        target: Target,
        (front, back): (Service, Option<Service>),
        application: Application,
        _ends: Ends,
    ) -> Self {
        let (load, begun) = (Load::start(&ledger, &target), Instant::now());
        let (url, windows) = (url.to_owned(), Vec::new());
        Self { ledger, front, back, application, url, target, load, begun, windows, attacked: false, _ends }
    }

    /// The ids of its processes.
    pub(crate) fn programs(&self) -> Vec<u32> {
        let services = [Some(&self.front), self.back.as_ref()];
        services.into_iter().flatten().map(|service| service.program().id()).collect()
    }

    /// The process that sends.
    pub(crate) fn dispatcher(&mut self) -> &mut Service {
        self.back.as_mut().unwrap_or(&mut self.front)
    }

    /// Waits until messages rush through, and notes that a fault is about to strike.
    pub(crate) async fn strike(&mut self) {
        self.load.rush(true);
        let before = self.ledger.counts();
        let grown =
            |now: [usize; 2], then: [usize; 2]| now.iter().zip(then).all(|(now, then)| *now >= then + 40);
        within(PATIENCE, "messages to rush through", async || {
            let now = self.ledger.counts();
            let flows = self.ledger.flows(crate::ends::THINKING);
            let rushing = grown(now.accepted, before.accepted) && grown(now.ended, before.ended);
            if flows && rushing { Ok(()) } else { Err(format!("{now:?} after {before:?}")) }
        })
        .await;
        self.begins();
    }

    /// Waits until so many messages were accepted that nobody sends, and notes that a fault is about to
    /// strike.
    pub(crate) async fn piles_up(&mut self, messages: usize) {
        self.load.rush(true);
        let before = self.ledger.counts();
        within(PATIENCE, "messages to pile up", async || {
            let now = self.ledger.counts();
            let waiting = now.accepted[1] - before.accepted[1];
            if waiting >= messages { Ok(()) } else { Err(format!("{now:?} after {before:?}")) }
        })
        .await;
        self.begins();
    }

    /// Notes that something is about to happen, which ends when everything [recovers](Self::recovers).
    pub(crate) fn begins(&mut self) {
        let now = Instant::now();
        self.windows.push(Window { from: now, to: now });
    }

    /// The fault has struck: the clients go on as before.
    pub(crate) fn calm(&self) {
        self.load.rush(false);
    }

    /// Waits until what is posted from now on comes out again, both ways.
    pub(crate) async fn recovers(&mut self) {
        self.calm();
        let mark = Instant::now();
        within(PATIENCE, "messages to come through again", async || {
            let through = Way::BOTH.map(|way| self.ledger.arrived_since(mark, way));
            if through == [true; 2] {
                Ok(())
            } else {
                Err(format!("{through:?}, {:?}", self.ledger.counts()))
            }
        })
        .await;
        if let Some(window) = self.windows.last_mut() {
            window.to = Instant::now();
        }
    }

    /// Waits until what an end puts off from now on comes again and is taken.
    pub(crate) async fn retries(&self) {
        let mark = Instant::now();
        within(PATIENCE, "a retry to come", async || {
            if self.ledger.retried_since(mark) { Ok(()) } else { Err(format!("{:?}", self.ledger.counts())) }
        })
        .await;
    }

    /// Waits until `condition` holds of the ingress's metric.
    pub(crate) async fn front_metric(&self, name: &str, condition: impl Fn(f64) -> bool) -> f64 {
        within(PATIENCE, &format!("{name} of the ingress"), async || {
            let seen = self.front.metric(name).await?;
            if condition(seen) { Ok(seen) } else { Err(seen.to_string()) }
        })
        .await
    }

    /// Waits until so many more have been stored in the spool.
    pub(crate) async fn spools(&self, more: f64) {
        let before = self.front_metric("postern_spool_stored_total", |_| true).await;
        self.front_metric("postern_spool_stored_total", |stored| stored >= before + more).await;
    }

    /// Waits until the spool, where there is one, is empty: one that was killed with something in it
    /// is another fault.
    pub(crate) async fn spool_empties(&self) {
        self.front_metric("postern_spool_messages", |messages| messages == 0.0).await;
    }

    /// Waits until the spool hands its messages on.
    pub(crate) async fn forwards(&self) {
        self.front_metric("postern_spool_forwarded_total", |forwarded| forwarded > 0.0).await;
    }

    /// Waits until messages have been accepted both ways that nobody sends.
    pub(crate) async fn accepts_meanwhile(&self) {
        let before = self.ledger.counts().accepted;
        within(PATIENCE, "messages to be accepted", async || {
            let now = self.ledger.counts().accepted;
            if now.iter().zip(before).all(|(now, before)| *now >= before + 20) {
                Ok(())
            } else {
                Err(format!("{now:?}"))
            }
        })
        .await;
    }

    /// Waits until so many more requests have got no answer.
    pub(crate) async fn goes_unanswered(&self, more: usize) {
        let before = self.ledger.counts().unanswered;
        within(PATIENCE, "requests without an answer", async || {
            let now = self.ledger.counts().unanswered;
            if now >= before + more { Ok(()) } else { Err(now) }
        })
        .await;
    }

    /// Waits until so many more requests have been answered with 503.
    pub(crate) async fn refuses(&self, more: usize) {
        let before = self.ledger.counts().refusals;
        within(PATIENCE, "answers 503", async || {
            let now = self.ledger.counts().refusals;
            if now >= before + more { Ok(()) } else { Err(now) }
        })
        .await;
    }

    /// How long one more message takes to be accepted.
    pub(crate) async fn time_of_one(&self) -> Duration {
        time_of_one(&self.ledger, &self.target).await
    }

    /// Ends the load, waits for the end of every accepted message, drains the programs, and looks
    /// for what is left anywhere.
    pub(crate) async fn settle(mut self, fault: &'static str, allowance: Allowance) -> Row {
        self.load.stop().await;
        let stopped = Instant::now();
        let reports = self.application == Application::Webhook;
        let (mut dead, mut left, mut since) = (DeadIds::default(), usize::MAX, Instant::now());
        loop {
            let outstanding = self.ledger.outstanding(&dead.own, reports).len() + self.torn_requests().len();
            if outstanding == 0 || (outstanding == left && since.elapsed() > GIVEN_UP) {
                break;
            }
            if outstanding != left {
                (left, since) = (outstanding, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
            dead = self.dead().await;
        }
        if stopped.elapsed() > SETTLED {
            eprintln!(
                "--- {fault}: the last message came {:.0} s after the load",
                stopped.elapsed().as_secs_f64()
            );
        }
        let drains = Instant::now();
        for service in [Some(&mut self.front), self.back.as_mut()].into_iter().flatten() {
            service.drain().await;
            service.assert_silent();
        }
        let drained = drains.elapsed();
        let (counts, times) = (self.ledger.counts(), self.windows.len());
        let verdict = self.ledger.verdict((self.begun, stopped), &self.windows, &dead.own, reports);
        let mut row = Row::new(fault, times, &verdict, allowance);
        row.drained = drained;
        if counts.accepted.contains(&0) {
            row.problems.push(format!("no load: {counts:?}"));
        }
        row.problems.extend(self.torn_requests());
        // An attacker's may come until the end.
        let dead = (!self.attacked).then_some(dead.all);
        row.problems.extend(leftovers(&self.url, dead).await);
        row
    }

    /// The requests that were stored in part, where guarantees.md says that this cannot be.
    fn torn_requests(&self) -> Vec<String> {
        if self.url.starts_with("embedded:") { self.ledger.torn_requests() } else { Vec::new() }
    }

    /// The dead letters.
    async fn dead(&mut self) -> DeadIds {
        let told = match self.dispatcher().program().admin("/v1/dead?limit=1000000").await {
            Ok(Reply { status: 200, text, .. }) => text,
            // Asked again.
            _ => return DeadIds::default(),
        };
        let listing: serde_json::Value = serde_json::from_str(&told).expect("a listing of dead letters");
        let letters = listing["letters"].as_array().expect("letters");
        let own = letters.iter().filter(|letter| letter["backend"] != "hostile");
        let own = own.map(|letter| letter["id"].as_str().unwrap_or_default().to_owned()).collect();
        DeadIds { own, all: letters.len() as u64 }
    }
}

/// The dead letters of a scenario.
#[derive(Debug, Default)]
struct DeadIds {
    /// The ids of those that no attacker has made.
    own: Vec<String>,
    all: u64,
}

/// What is in the queues that nobody can explain, now that every program has ended; `dead`: how many dead letters
/// there should be, if that can be said.
async fn leftovers(url: &str, dead: Option<u64>) -> Vec<String> {
    let [x, y, batches] =
        ["x", "y", BATCHES].map(|name| name.parse::<BackendName>().expect("a backend's name"));
    let queues = [
        QueueName::inbound(),
        QueueName::outbound(&batches, Priority::Normal),
        QueueName::outbound(&x, Priority::Normal),
        QueueName::outbound(&x, Priority::Bulk),
        QueueName::outbound(&y, Priority::Normal),
        QueueName::outbound(&y, Priority::Bulk),
        QueueName::unrouted(),
        QueueName::dead(),
    ];
    let options = BrokerOptions {
        topology: Topology {
            backends: [x, y, batches].into(),
            delays: [DELAY].into(),
            max_reports: 1_000_000,
            max_callbacks: 100_000,
            max_messages: None,
            log: postern_broker::LogRoute::None,
        },
        publish_timeout: Duration::from_secs(2),
        client_name: "campaign".to_owned(),
        min_free_disk: 0,
        max_deliveries: 20,
    };
    let broker = broker::connect(url, options, None).await.expect("the broker").broker;
    let ready = tokio::time::timeout(PATIENCE, async {
        broker.status().wait_for(|status| *status == BrokerStatus::Ready).await.map(drop)
    });
    ready.await.expect("the broker is ready in time").expect("the broker is not closed");
    let mut problems = Vec::new();
    for queue in queues {
        let expected = if queue == QueueName::dead() { dead } else { Some(0) };
        let depth = broker.depth(&queue).await.expect("a queue's depth").ready;
        if let Some(expected) = expected
            && depth != expected
        {
            problems.push(format!("{queue} holds {depth} messages instead of {expected}"));
        }
    }
    broker.close().await;
    problems
}

fn config(url: &str, more: &str, ends: &Ends, application: Application) -> String {
    let application = match application {
        Application::Echo => "type = \"echo\"".to_owned(),
        Application::Webhook => format!(
            "type = \"webhook\"\nurl = \"{}\"\nconcurrency = {CONCURRENCY}\n\
             secret = \"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"",
            ends.application()
        ),
    };
    format!(
        "[broker]\nurl = \"{url}\"\npublish_timeout = \"5s\"\nmin_free_disk = 0\n[ingress]\n{more}\n\
         [dispatcher]\nconcurrency = {CONCURRENCY}\n[application]\n{application}\n\
         [retry]\ndelays = [\"1s\", \"1s\", \"1s\"]\n{}{}[backends.{BATCHES}.receive]\n\
         each = \"/results\"\nparams = {{ identity = \"/from\", text = \"/text\", external_id = \"/id\" }}\n",
        config_of_backend("x", ends),
        config_of_backend(BATCHES, ends)
    )
}

fn config_of_backend(name: &str, ends: &Ends) -> String {
    format!(
        "[backends.{name}]\ntype = \"http\"\n[backends.{name}.send]\nurl = \"{}\"\n\
         json = {{ id = \"{{{{ id }}}}\", to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n",
        ends.provider()
    )
}
