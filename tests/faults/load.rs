//! Providers and applications that post messages. Half of them repeat a message until it is answered, as they
//! should.

use crate::ledger::{Counts, Ledger, Way};
use postern_tests::{fetch, http_client};
use reqwest::Client;
use serde_json::json;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinSet};

/// The number of the sender or recipient of every message. No log may contain it.
pub(crate) const NUMBER: &str = "+15557654321";
/// The start of every text. No log may contain it.
pub(crate) const TEXT: &str = "fault-campaign";

/// The number of clients for each way; each has one request in flight.
const CLIENTS: usize = 6;
/// The number of clients that post several messages in one request, and how many messages that are.
const BATCH_CLIENTS: usize = 2;
const BATCH: usize = 5;
/// The most messages in flight.
pub(crate) const UNDER_WAY: usize = 2 * CLIENTS + BATCH_CLIENTS * BATCH;
/// How long a client rests after an answer, except in a rush.
const REST: Duration = Duration::from_millis(400);
/// In a rush, how many accepted messages of each way may wait to come out, and how many for their reports. More
/// would only have to be waited for later.
const WAITING: usize = 150;
/// How long a client rests while more than that wait.
const FULL: Duration = Duration::from_millis(5);
/// How many accepted messages of each way may wait before every client rests longer: a busy machine would never
/// catch up.
const BACKLOG: usize = 700;
/// How long a client rests after an answer while more than [`BACKLOG`] wait.
const LONG_REST: Duration = Duration::from_secs(3);
/// How long a client rests after an answer that is not 2xx.
const SORRY: Duration = Duration::from_millis(100);

/// The address that the clients post to: a restarted program has another port.
#[derive(Debug, Clone, Default)]
pub(crate) struct Target(Arc<Mutex<String>>);

impl Target {
    pub(crate) fn set(&self, url: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = url;
    }

    fn get(&self) -> String {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Pace {
    /// A rest after each answer.
    Calm,
    /// As fast as answers come, while at most this many accepted messages of each way wait to come out or to be
    /// reported.
    Rush([usize; 2]),
    Over,
}

/// The running clients.
#[derive(Debug)]
pub(crate) struct Load {
    pace: watch::Sender<Pace>,
    clients: JoinSet<()>,
}

impl Load {
    /// Starts the clients. `reported` says whether submitted messages get reports.
    pub(crate) fn start(ledger: &Arc<Ledger>, target: &Target, reported: bool) -> Self {
        let (pace, _) = watch::channel(Pace::Calm);
        let http = http_client();
        let mut clients = JoinSet::new();
        let singles = Way::BOTH.into_iter().flat_map(|way| vec![(way, 1); CLIENTS]);
        for (number, (way, messages)) in singles.chain([(Way::Received, BATCH); BATCH_CLIENTS]).enumerate() {
            let client = Poster {
                http: http.clone(),
                ledger: Arc::clone(ledger),
                target: target.clone(),
                way,
                messages,
                // Every other client names its messages and repeats each until it is accepted.
                repeats: number % 2 == 0,
                reported,
            };
            clients.spawn(client.work(pace.subscribe()));
        }
        Self { pace, clients }
    }

    /// Rests after each answer from now on.
    pub(crate) fn calm(&self) {
        self.pace.send_replace(Pace::Calm);
    }

    /// Posts as fast as answers come and messages come out from now on.
    pub(crate) fn rush(&self) {
        self.pace.send_replace(Pace::Rush([WAITING; 2]));
    }

    /// Posts as fast as answers come from now on, until [`BACKLOG`] messages wait.
    pub(crate) fn rush_on(&self) {
        self.pace.send_replace(Pace::Rush([usize::MAX; 2]));
    }

    /// Like [`Self::rush_on`] for submitted messages, which nobody sends; received messages still have to come
    /// out.
    pub(crate) fn pile_up(&self) {
        self.pace.send_replace(Pace::Rush([WAITING, usize::MAX]));
    }

    /// Stops the load once every client has an answer to its last request.
    pub(crate) async fn stop(&mut self) {
        self.pace.send_replace(Pace::Over);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client");
        }
    }
}

#[derive(Debug)]
struct Poster {
    http: Client,
    ledger: Arc<Ledger>,
    target: Target,
    way: Way,
    /// The number of messages in one request.
    messages: usize,
    repeats: bool,
    /// Whether its messages get reports.
    reported: bool,
}

impl Poster {
    async fn work(self, mut pace: watch::Receiver<Pace>) {
        while *pace.borrow_and_update() != Pace::Over {
            let numbers = self.ledger.begin(self.way, self.messages);
            while !self.post(&numbers).await && self.repeats && *pace.borrow() != Pace::Over {
                tokio::time::sleep(SORRY).await;
            }
            let now = *pace.borrow();
            if let Pace::Rush(most) = now {
                while self.waiting() > most[self.way as usize] && *pace.borrow() == now {
                    tokio::time::sleep(FULL).await;
                }
            }
            let rest = match now {
                Pace::Over => continue,
                _ if self.waiting() > BACKLOG => LONG_REST,
                Pace::Calm => REST,
                Pace::Rush(_) => continue,
            };
            // Another pace ends the rest early. An error means that the load is gone.
            let _ = tokio::time::timeout(rest, pace.changed()).await;
        }
    }

    /// How many messages of its way are still waiting.
    fn waiting(&self) -> usize {
        let Counts { waiting, unreported, .. } = self.ledger.counts();
        let unreported = if self.reported && self.way == Way::Submitted { unreported } else { 0 };
        waiting[self.way as usize].max(unreported)
    }

    /// Posts the messages with these numbers once, in one request. Returns whether they were accepted.
    async fn post(&self, numbers: &[usize]) -> bool {
        let (base, number) = (self.target.get(), numbers[0]);
        let text = |number: usize| format!("{TEXT} {number}");
        let key = |number: usize| format!("key-{number}");
        let request = match self.way {
            Way::Received if self.messages > 1 => {
                let item = |number: &usize| {
                    let id = self.repeats.then(|| key(*number));
                    json!({"from": NUMBER, "text": text(*number), "id": id})
                };
                let items: Vec<_> = numbers.iter().map(item).collect();
                self.http.post(base + "/backends/batches").json(&json!({ "results": items }))
            }
            Way::Received => {
                let mut form = vec![("identity", NUMBER.to_owned()), ("text", text(number))];
                form.extend(self.repeats.then(|| ("external_id", key(number))));
                self.http.post(base + "/backends/x").form(&form)
            }
            Way::Submitted => {
                let (text, key) = (text(number), key(number));
                let priority = if number % 8 == 5 { "bulk" } else { "normal" };
                let body = json!({"backend": "x", "to": NUMBER, "text": text, "priority": priority});
                let request = self.http.post(base + "/v1/messages").json(&body);
                if self.repeats { request.header("Idempotency-Key", &key) } else { request }
            }
        };
        numbers.iter().for_each(|number| self.ledger.tries(*number));
        let Ok(reply) = fetch(request).await else {
            numbers.iter().for_each(|number| self.ledger.answered(*number, None, None));
            tokio::time::sleep(SORRY).await;
            return false;
        };
        let accepted = (200..300).contains(&reply.status);
        let body = (accepted && self.way == Way::Submitted).then(|| reply.json());
        let id = body.as_ref().and_then(|body| body["id"].as_str());
        numbers.iter().for_each(|number| self.ledger.answered(*number, Some(reply.status), id));
        if !accepted {
            tokio::time::sleep(SORRY).await;
        }
        accepted
    }
}

/// The number of the message with this text.
pub(crate) fn number_in(text: &str) -> Option<usize> {
    text.strip_prefix(TEXT)?.trim().parse().ok()
}

/// How long one further message takes to be accepted.
pub(crate) async fn time_of_one(ledger: &Arc<Ledger>, target: &Target) -> Duration {
    let poster = Poster {
        http: http_client(),
        ledger: Arc::clone(ledger),
        target: target.clone(),
        way: Way::Submitted,
        messages: 1,
        repeats: true,
        reported: false,
    };
    let (numbers, begun) = (ledger.begin(poster.way, 1), Instant::now());
    while !poster.post(&numbers).await {}
    begun.elapsed()
}
