//! One scenario's field: Postern's programs between the clients and the ends, the ledger, and the
//! faults so far.
//!
//! - `setup`: what the programs are configured with; `waits`: waiting for what a fault leads to
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

/// How long anything may take that has to happen, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);
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
/// Of the admin port.
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
    setup: Setup,
    /// As TOML.
    config: String,
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
        self.setup.url.starts_with("embedded:")
    }

    /// Both services.
    pub(crate) async fn pair(setup: Setup) -> Self {
        let (ledger, target) = (Arc::new(Ledger::default()), Target::default());
        let ends = Ends::start(&ledger, setup.thinking).await;
        let config = setup.toml(&ends);
        let (front, back) = (Launch::ingress(&config), Launch::dispatcher(&config).admin_token(TOKEN));
        let (front, back) =
            tokio::join!(Service::start(front, Some(target.clone())), Service::start(back, None));
        Self::new(setup, config, (ledger, target, ends), (front, Some(back)))
    }

    /// Both services, with these sections, and a backend `hostile`, whose provider refuses what is not the
    /// load's.
    pub(crate) async fn attacked(url: &str, sections: &str) -> Self {
        let setup = Setup::new(url).backend("hostile").sections(sections);
        Self { attacked: true, ..Self::pair(setup).await }
    }

    /// The one process.
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

    /// The process that sends.
    pub(crate) fn dispatcher(&mut self) -> &mut Service {
        self.back.as_mut().unwrap_or(&mut self.front)
    }

    /// Waits until messages rush through, and notes that a fault is about to strike.
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
        // Also while nothing comes out.
        self.load.rush_on();
        self.begins();
    }

    /// Waits until so many messages were accepted that nobody sends, and notes that a fault is about to
    /// strike.
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

    /// Notes that something is about to happen, which ends when everything [recovers](Self::recovers).
    pub(crate) fn begins(&mut self) {
        let now = Instant::now();
        self.windows.push(Window { from: now, to: now });
    }

    /// The fault has struck: the clients go on as before.
    pub(crate) fn calm(&self) {
        self.load.calm();
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
}
