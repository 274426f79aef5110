//! The end of a scenario: everything comes out, the programs drain, and leftovers are looked for.

use super::{Application, BATCHES, DELAY, Field, PATIENCE};
use crate::{
    ledger::{Audit, Dead, Logged, Verdict},
    table::{Allowance, Row},
};
use postern_broker::{BrokerOptions, BrokerStatus, QueueName, Topology, testing};
use postern_service::broker;
use postern_shared::message::{BackendName, Priority};
use postern_tests::{Launch, Reply, within};
use serde::Deserialize;
use std::time::{Duration, Instant};

/// How long no outstanding message may come out before all of them count as lost: longer than the 65 seconds
/// that RabbitMQ waits for a queue without a leader, plus the 10 until it tries again.
const GIVEN_UP: Duration = Duration::from_secs(120);
/// If everything takes longer than this to come out, the time is printed.
const SETTLED: Duration = Duration::from_secs(20);
/// How long the message log may take to catch up, at some hundred events a second.
const CATCHES_UP: Duration = Duration::from_secs(600);
/// How long nothing must be written into the log after that: longer than a program takes between two readings of
/// its queues' lengths.
const QUIET: Duration = Duration::from_secs(8);
/// The least time between two readings of what is outstanding.
const LOOK: Duration = Duration::from_millis(500);

impl Field {
    /// Runs [`settled`](Self::settled), and returns the row of one fault.
    pub(crate) async fn settle(self, fault: &'static str, allowance: Allowance) -> Row {
        let times = self.windows.len();
        let Settled { verdict, drained, .. } = self.settled(fault).await;
        let mut row = Row::new(fault, times, &verdict, allowance);
        row.drained = drained;
        row
    }

    /// Stops the load, waits for the outcome of every accepted message, drains the programs, compares the
    /// message log with the ledger, and looks for leftovers.
    pub(crate) async fn settled(mut self, name: &'static str) -> Settled {
        self.load.stop().await;
        let stopped = Instant::now();
        let reports = self.setup.application == Application::Webhook;
        let dead = self.comes_to_an_end(reports).await;
        if stopped.elapsed() > SETTLED {
            eprintln!(
                "--- {name}: the last message came {:.0} s after the load",
                stopped.elapsed().as_secs_f64()
            );
        }
        let logged_by_broker = self.setup.logged && !self.is_embedded();
        if logged_by_broker {
            self.log_catches_up().await;
        }
        let drains = Instant::now();
        for service in [Some(&mut self.front), self.back.as_mut()].into_iter().flatten() {
            service.drain().await;
            service.assert_silent();
        }
        let drained = drains.elapsed();
        let counts = self.ledger.counts();
        let mut verdict = self.ledger.verdict((self.begun, stopped), &self.windows, &dead.own, reports);
        if counts.accepted.contains(&0) {
            verdict.problems.push(format!("no load: {counts:?}"));
        }
        verdict.problems.extend(self.torn_requests());
        let audit = if self.setup.logged { self.audit().await } else { Audit::default() };
        verdict.problems.extend(audit.problems.iter().cloned());
        if audit.differing > 0 {
            verdict.problems.push(format!("the message log differs for {} messages", audit.differing));
        }
        if self.is_embedded() && audit.unconfirmed > 0 {
            let unconfirmed = audit.unconfirmed;
            verdict.problems.push(format!("{unconfirmed} messages are in the log and did not come out"));
        }
        // An attacker's messages may still be dead-lettered until the end.
        let dead = (!self.attacked).then_some(dead.all);
        verdict.problems.extend(leftovers(&self.setup.url, dead, logged_by_broker).await);
        Settled { verdict, audit, drained, loaded: stopped.duration_since(self.begun) }
    }

    /// Waits until nothing is outstanding, or nothing more comes out. Returns the dead letters.
    async fn comes_to_an_end(&mut self, reports: bool) -> DeadIds {
        let (mut dead, mut left, mut since) = (DeadIds::default(), usize::MAX, Instant::now());
        loop {
            let outstanding = self.ledger.outstanding(&dead.own, reports).len() + self.torn_requests().len();
            if outstanding == 0 || (outstanding == left && since.elapsed() > GIVEN_UP) {
                return dead;
            }
            if outstanding != left {
                (left, since) = (outstanding, Instant::now());
            }
            let looks = Instant::now();
            dead = self.dead().await.unwrap_or(dead);
            // A list of thousands costs the programs work.
            tokio::time::sleep(LOOK.max(looks.elapsed() * 2)).await;
        }
    }

    /// Waits until nothing has been written into the message log for a while, and nothing waits for it.
    async fn log_catches_up(&mut self) {
        let dispatcher = self.dispatcher();
        let (mut written, mut since) = (-1.0, Instant::now());
        within(CATCHES_UP, "the message log to catch up", async || {
            let told = dispatcher.metrics().await?;
            let waiting = told.value("postern_queue_messages", &[("queue", "postern.log")]);
            let now = told.value("postern_log_events_total", &[]);
            if now > written {
                (written, since) = (now, Instant::now());
            }
            let settled = waiting == 0.0 && since.elapsed() > QUIET;
            if settled {
                Ok(())
            } else {
                Err(format!("{waiting} messages wait for it, {now} events are written"))
            }
        })
        .await;
    }

    /// Compares the message log with the ledger, using `postern log export`.
    async fn audit(&self) -> Audit {
        let mut auditor = self.ledger.auditor(self.setup.application == Application::Echo);
        let export = ["log", "export", "--events"]
            .into_iter()
            .fold(Launch::gateway(), |launch, word| launch.arg(word));
        let mut unreadable = 0;
        let ended = export.config(&self.config).lines(|line| match serde_json::from_str::<Logged>(line) {
            Ok(logged) => auditor.compare(&logged),
            Err(_) => unreadable += 1,
        });
        assert_eq!(ended.code, Some(0), "postern log export: {}", ended.log);
        assert_eq!(unreadable, 0, "lines of postern log export that cannot be read");
        auditor.finish()
    }

    /// The requests that were stored only in part, if docs/guarantees.md rules that out for the broker.
    fn torn_requests(&self) -> Vec<String> {
        if self.is_embedded() { self.ledger.torn_requests() } else { Vec::new() }
    }

    /// The dead letters; `None` if they cannot be listed now.
    async fn dead(&mut self) -> Option<DeadIds> {
        let told = match self.dispatcher().program().admin("/v1/dead?limit=1000000").await {
            Ok(Reply { status: 200, text, .. }) => text,
            _ => return None,
        };
        let listing: Listing = serde_json::from_str(&told).expect("a listing of dead letters");
        let mut dead = DeadIds { own: Dead::new(), all: listing.letters.len() as u64 };
        for letter in listing.letters.iter().filter(|letter| letter.backend.as_deref() != Some("hostile")) {
            // An invalid id belongs to no message.
            let id = letter.id.as_deref().unwrap_or_default().parse().unwrap_or_default();
            *dead.own.entry(id).or_default() += 1;
        }
        Some(dead)
    }
}

/// The result of a scenario.
#[derive(Debug)]
pub(crate) struct Settled {
    pub(crate) verdict: Verdict,
    /// The comparison with the message log, if there is one.
    pub(crate) audit: Audit,
    /// How long the programs took to drain, one after the other.
    pub(crate) drained: Duration,
    /// How long the load lasted.
    pub(crate) loaded: Duration,
}

/// The answer of `/v1/dead`.
#[derive(Debug, Deserialize)]
struct Listing {
    letters: Vec<Letter>,
}

#[derive(Debug, Deserialize)]
struct Letter {
    id: Option<String>,
    backend: Option<String>,
}

/// The dead letters of a scenario.
#[derive(Debug, Default)]
struct DeadIds {
    /// Dead letters that no attacker caused.
    own: Dead,
    all: u64,
}

/// Messages left in the queues without an explanation, now that every program has ended. `dead` is the expected
/// number of dead letters, if it is known; `logged` says whether there is a queue for the message log.
async fn leftovers(url: &str, dead: Option<u64>, logged: bool) -> Vec<String> {
    let [x, y, batches] =
        ["x", "y", BATCHES].map(|name| name.parse::<BackendName>().expect("a backend's name"));
    let mut queues = vec![
        QueueName::inbound(),
        QueueName::outbound(&batches, Priority::Normal),
        QueueName::outbound(&x, Priority::Normal),
        QueueName::outbound(&x, Priority::Bulk),
        QueueName::outbound(&y, Priority::Normal),
        QueueName::outbound(&y, Priority::Bulk),
        QueueName::unrouted(),
        QueueName::dead(),
    ];
    if logged {
        queues.push(QueueName::log());
    }
    // The same queues as the programs': RabbitMQ refuses others under the same names.
    let topology =
        Topology { delays: [DELAY].into(), max_reports: 1_000_000, ..testing::topology([x, y, batches]) };
    let options = BrokerOptions { publish_timeout: Duration::from_secs(2), ..testing::options(topology) };
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
