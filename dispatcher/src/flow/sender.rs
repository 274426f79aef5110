//! A backend's sender behind its flow control: a message becomes requests, each of which is made when it
//! may be.
//!
//! With a rate, a sender that does not say how many recipients it takes gets one for each call, unless its
//! `send` table has several in one request: it may split a call with more of them into several requests, which
//! would bypass the rate.

use super::{
    held::Held,
    permit::{SendPermit, WorkPermit},
};
use crate::metrics::SendingMetrics;
use crate::{
    connectors::{Backend, Call, send_guarded},
    outcome::{self, Outcome},
};
use futures_util::{StreamExt, stream::FuturesOrdered};
use jiff::Timestamp;
use postern_config::backend::{
    BackendConfig,
    flow::{Counted, RateLimit},
};
use postern_shared::text::segmentation;
use std::{pin::pin, sync::Arc, time::Instant};

/// Says whether an operator has cancelled the message by now.
pub(crate) type IsCancelled<'a> = &'a (dyn Fn() -> bool + Sync);

/// Sends a backend's messages, each request when it may be made. This is the only place in which a
/// queued message is split into requests.
pub(crate) struct PacedSender {
    backend: Arc<dyn Backend>,
    metrics: SendingMetrics,
    /// What a request counts for the rate; `None` without a rate.
    count: Option<Counted>,
    /// The most recipients of one request.
    recipients: usize,
}

impl PacedSender {
    /// The sender of the backend that `config` describes.
    pub(crate) fn new(config: &BackendConfig, backend: Arc<dyn Backend>, metrics: SendingMetrics) -> Self {
        let recipients = recipients(config, backend.recipients_per_request());
        let count = config.definition.rate.map(|rate| rate.count);
        Self { backend, metrics, count, recipients }
    }

    /// Makes `call`, in as many requests as it takes. Returns one outcome for each of its identities, in
    /// their order. An identity whose turn did not come in time, before the message expired or was
    /// cancelled, fails with `not_begun`.
    pub(crate) async fn send(
        &self,
        work: &WorkPermit,
        call: Call<'_>,
        is_cancelled: IsCancelled<'_>,
    ) -> Vec<Outcome> {
        let identities = call.identities;
        let turn = |some| self.turn(work, Call { identities: some, ..call }, is_cancelled);
        let request = |permit, some| self.request(permit, Call { identities: some, ..call });
        if identities.len() <= self.recipients {
            let permit = turn(identities).await;
            work.all_begun();
            return request(permit, identities).await;
        }
        let (mut answers, mut flying) = (Vec::with_capacity(identities.len()), FuturesOrdered::new());
        for some in identities.chunks(self.recipients) {
            let mut permit = pin!(turn(some));
            let permit = loop {
                tokio::select! {
                    biased;
                    Some(answer) = flying.next(), if !flying.is_empty() => answers.extend(answer),
                    permit = &mut permit => break permit,
                }
            };
            flying.push_back(request(permit, some));
        }
        work.all_begun();
        while let Some(answer) = flying.next().await {
            answers.extend(answer);
        }
        answers
    }

    /// Waits until `call` may be made, as one request.
    ///
    /// # Errors
    /// It must not be made.
    async fn turn<'w>(
        &self,
        work: &'w WorkPermit,
        call: Call<'_>,
        is_cancelled: IsCancelled<'_>,
    ) -> Result<SendPermit<'w>, Held> {
        let still_wanted = || match () {
            () if is_cancelled() => Err(Held::Cancelled),
            () if call.message.expired(Timestamp::now()) => Err(Held::Expired),
            () => Ok(()),
        };
        // Otherwise each of the message's other requests would use up a turn, too.
        still_wanted()?;
        let cost = self.count.map_or(0, |count| cost(count, call.text, call.identities.len()));
        let permit = work.request(cost).await?;
        // The wait may have taken minutes.
        still_wanted().map(|()| permit)
    }

    /// Makes one request if `permit` allows it.
    async fn request(&self, permit: Result<SendPermit<'_>, Held>, call: Call<'_>) -> Vec<Outcome> {
        let permit = match permit {
            Ok(permit) => permit,
            Err(held) => return vec![Err(held.failure()); call.identities.len()],
        };
        let begun = Instant::now();
        self.metrics.in_flight.inc();
        // A guard, so that the end also counts if the drain's deadline drops the call.
        let _ends = Ends(&self.metrics);
        let mut outcomes = send_guarded(&*self.backend, call, permit.time_left()).await;
        let took = begun.elapsed();
        self.metrics.send_duration.observe(took.as_secs_f64());
        permit.note(&mut outcomes, took);
        outcomes.iter_mut().for_each(|outcome| outcome::took(outcome, took));
        outcomes
    }
}

/// The most recipients of one request of the backend that `config` describes. `own` is what its sender
/// says, if it says anything; the default depends on the rate, see the module.
fn recipients(config: &BackendConfig, own: Option<usize>) -> usize {
    let table = || config.definition.connector.calls().recipients_per_request();
    let rated = |_: RateLimit| table();
    own.or_else(|| config.definition.rate.map(rated)).unwrap_or(usize::MAX).max(1)
}

/// What a request with `text` to this many identities counts for the rate.
fn cost(count: Counted, text: &str, identities: usize) -> u32 {
    let cost = match count {
        Counted::Messages => identities,
        Counted::Segments => identities.saturating_mul(segmentation(text).segments),
        Counted::Requests => 1,
    };
    u32::try_from(cost).unwrap_or(u32::MAX)
}

struct Ends<'a>(&'a SendingMetrics);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_config::{Config, ProviderRegistry};

    fn backend(more: &str) -> Arc<BackendConfig> {
        let text = format!("[backends.demo]\ntype = \"http\"\nsend = {{ url = \"http://h/\", {more}");
        let config = Config::parse("test", Some(&text), [], &ProviderRegistry::builtin()).unwrap();
        config.backends.into_values().next().unwrap()
    }

    #[test]
    fn a_request_costs_what_the_provider_counts() {
        let long = "x".repeat(200);
        for (more, size, identities, expected) in [
            ("}\nrate = \"1/s\"", 1, 1, 1),
            ("recipients = \"list\", batch = 50 }\nrate = \"1/s\"", 50, 50, 50),
            ("recipients = \"joined\" }\nrate = { limit = \"1/s\", count = \"requests\" }", 100, 70, 1),
            ("recipients = \"joined\" }\nrate = { limit = \"1/s\", count = \"segments\" }", 100, 70, 140),
            ("}\nrate = { limit = \"1/s\", count = \"segments\" }", 1, 1, 2),
        ] {
            let backend = backend(more);
            let count = backend.definition.rate.unwrap().count;
            assert_eq!(
                (recipients(&backend, None), cost(count, &long, identities)),
                (size, expected),
                "{more}"
            );
        }
    }

    #[test]
    fn a_sender_that_does_not_say_gets_all_recipients_at_once_unless_there_is_a_rate() {
        assert_eq!(recipients(&backend("recipients = \"list\", batch = 50 }"), None), usize::MAX);
        assert_eq!(recipients(&backend("}\nrate = \"1/s\""), Some(20)), 20);
        assert_eq!(recipients(&backend("}"), Some(0)), 1);
    }
}
