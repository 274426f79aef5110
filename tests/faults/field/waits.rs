//! Waiting for the effects of a fault.

use super::{Field, PATIENCE};
use crate::load::time_of_one;
use postern_tests::within;
use std::time::{Duration, Instant};

impl Field {
    /// Waits until `condition` holds for the ingress's metric.
    pub(crate) async fn front_metric(&self, name: &str, condition: impl Fn(f64) -> bool) -> f64 {
        within(PATIENCE, &format!("{name} of the ingress"), async || {
            let seen = self.front.metric(name).await?;
            if condition(seen) { Ok(seen) } else { Err(seen.to_string()) }
        })
        .await
    }

    /// Waits until `more` further messages have been stored in the spool.
    pub(crate) async fn spools(&self, more: f64) {
        let before = self.front_metric("postern_spool_stored_total", |_| true).await;
        self.front_metric("postern_spool_stored_total", |stored| stored >= before + more).await;
    }

    /// Waits until the spool is empty, if there is one: a kill while it holds messages is another fault.
    pub(crate) async fn spool_empties(&self) {
        self.front_metric("postern_spool_messages", |messages| messages == 0.0).await;
    }

    /// Waits until the spool forwards messages.
    pub(crate) async fn forwards(&self) {
        self.front_metric("postern_spool_forwarded_total", |forwarded| forwarded > 0.0).await;
    }

    /// Waits until messages have been accepted both ways while nothing is sent.
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

    /// Waits until `more` further requests have got no answer.
    pub(crate) async fn goes_unanswered(&self, more: usize) {
        let before = self.ledger.counts().unanswered;
        within(PATIENCE, "requests without an answer", async || {
            let now = self.ledger.counts().unanswered;
            if now >= before + more { Ok(()) } else { Err(now) }
        })
        .await;
    }

    /// Waits until `more` further requests have been answered with 503.
    pub(crate) async fn refuses(&self, more: usize) {
        let before = self.ledger.counts().refusals;
        within(PATIENCE, "answers 503", async || {
            let now = self.ledger.counts().refusals;
            if now >= before + more { Ok(()) } else { Err(now) }
        })
        .await;
    }

    /// How long one further message takes to be accepted.
    pub(crate) async fn time_of_one(&self) -> Duration {
        time_of_one(&self.ledger, &self.target).await
    }

    /// Lets the load rush on until `messages` messages have been accepted in all.
    pub(crate) async fn goes_on_until(&self, messages: usize) {
        self.load.rush();
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let now: usize = self.ledger.counts().accepted.iter().sum();
            if now >= messages {
                return;
            }
            if now > last {
                (last, since) = (now, Instant::now());
            }
            assert!(since.elapsed() < PATIENCE, "nothing is accepted any more after {now} messages");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
