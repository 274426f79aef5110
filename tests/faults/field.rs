//! What one scenario runs: Postern's programs between the clients and the ends, the ledger, and the faults so
//! far.
//!
//! - `setup`: the programs' configuration; `waits`: waiting for the effects of a fault
//! - `settle`: the end of it

mod settle;
mod setup;
mod waits;

use crate::{
    ends::Ends,
    ledger::{Ledger, Way, Window},
    load::{Load, Target},
    services::Service,
};
use postern_tests::{Launch, within};
pub(crate) use settle::Settled;
pub(crate) use setup::Setup;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long anything that must happen may take, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
/// `dispatcher.concurrency`.
const CONCURRENCY: usize = 4;
/// How many messages a dispatcher may hold (docs/guarantees.md): twice `concurrency` for each backend and lane.
/// Here that is three times: the backend's two lanes, and the inbound messages to the webhook or, with the
/// application `echo`, the answers to messages that came in batches.
pub(crate) const IN_HAND: usize = 3 * 2 * CONCURRENCY;
/// How many messages the application `echo` may hold: it takes 128 at a time.
pub(crate) const ECHOED: usize = 2 * 128;
/// How many messages the spool may send twice (docs/guarantees.md): 128 for each of three queues.
pub(crate) const FORWARDED: usize = 3 * 128;
/// The backend that accepts several messages in one request.
const BATCHES: &str = "batches";
const DELAY: Duration = Duration::from_secs(1);
/// The token of the admin port.
pub(crate) const TOKEN: &str = "the-token-of-the-campaign";

/// The application that receives people's messages.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Application {
    Webhook,
    Echo,
}

#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) ledger: Arc<Ledger>,
    /// The ingress or the one process.
    pub(crate) front: Service,
    /// The dispatcher, if it is a process of its own.
    pub(crate) back: Option<Service>,
    setup: Setup,
    /// The programs' configuration as TOML.
    config: String,
    target: Target,
    load: Load,
    begun: Instant,
    windows: Vec<Window>,
    /// Whether an attacker publishes, too.
    attacked: bool,
    _ends: Ends,
}

impl Field {
    /// Whether its broker is the embedded one, which has no spool in front of it.
    pub(crate) fn is_embedded(&self) -> bool {
        self.setup.url.starts_with("embedded:")
    }

    /// Starts both services.
    pub(crate) async fn pair(setup: Setup) -> Self {
        let (ledger, target) = (Arc::new(Ledger::default()), Target::default());
        let ends = Ends::start(&ledger, setup.thinking).await;
        let config = setup.toml(&ends);
        let (front, back) = (Launch::ingress(&config), Launch::dispatcher(&config).admin_token(TOKEN));
        let (front, back) =
            tokio::join!(Service::start(front, Some(target.clone())), Service::start(back, None));
        Self::new(setup, config, (ledger, target, ends), (front, Some(back)))
    }

    /// Starts both services with these further sections and a backend `hostile`, whose provider refuses
    /// everything that is not from the load.
    pub(crate) async fn attacked(url: &str, sections: &str) -> Self {
        let setup = Setup::new(url).backend("hostile").sections(sections).patient();
        Self { attacked: true, ..Self::pair(setup).await }
    }

    /// Starts the one process.
    pub(crate) async fn gateway(setup: Setup) -> Self {
        let (ledger, target) = (Arc::new(Ledger::default()), Target::default());
        let ends = Ends::start(&ledger, setup.thinking).await;
        let config = setup.toml(&ends);
        let launch = Launch::gateway().config(&config).admin_token(TOKEN);
        let front = Service::start(launch, Some(target.clone())).await;
        Self::new(setup, config, (ledger, target, ends), (front, None))
    }

    fn new(
        setup: Setup,
        config: String,
        (ledger, target, _ends): (Arc<Ledger>, Target, Ends),
        (front, back): (Service, Option<Service>),
    ) -> Self {
        let load = Load::start(&ledger, &target, setup.application == Application::Webhook);
        let (begun, windows) = (Instant::now(), Vec::new());
        Self { ledger, front, back, setup, config, target, load, begun, windows, attacked: false, _ends }
    }

    /// The ids of its processes.
    pub(crate) fn programs(&self) -> Vec<u32> {
        let services = [Some(&self.front), self.back.as_ref()];
        services.into_iter().flatten().map(|service| service.program().id()).collect()
    }

    /// The process that sends messages.
    pub(crate) fn dispatcher(&mut self) -> &mut Service {
        self.back.as_mut().unwrap_or(&mut self.front)
    }

    /// Waits until messages flow fast, and records that a fault is about to strike.
    pub(crate) async fn strike(&mut self) {
        self.load.rush();
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
        // Clients continue even while nothing comes out.
        self.load.rush_on();
        self.begins();
    }

    /// Waits until `messages` messages that nobody sends have been accepted, and records that a fault is about
    /// to strike.
    pub(crate) async fn piles_up(&mut self, messages: usize) {
        self.load.pile_up();
        let before = self.ledger.counts();
        within(PATIENCE, "messages to pile up", async || {
            let now = self.ledger.counts();
            let waiting = now.accepted[1] - before.accepted[1];
            if waiting >= messages { Ok(()) } else { Err(format!("{now:?} after {before:?}")) }
        })
        .await;
        self.begins();
    }

    /// Records the start of an event, which ends when everything [recovers](Self::recovers).
    pub(crate) fn begins(&mut self) {
        let now = Instant::now();
        self.windows.push(Window { from: now, to: now });
    }

    /// Ends the rush after a fault: the clients continue as before.
    pub(crate) fn calm(&self) {
        self.load.calm();
    }

    /// Waits until messages that are posted from now on come out again, both ways.
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

    /// Waits until a message that is put off from now on comes again and is taken.
    pub(crate) async fn retries(&self) {
        let mark = Instant::now();
        within(PATIENCE, "a retry to come", async || {
            if self.ledger.retried_since(mark) { Ok(()) } else { Err(format!("{:?}", self.ledger.counts())) }
        })
        .await;
    }
}
