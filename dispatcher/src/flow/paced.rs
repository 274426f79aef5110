//! A backend's sender behind its gate: a message becomes as many requests as the rate counts, each
//! of which goes when it may.

use super::{Pass, gate::Held};
use crate::backends::{Backend, Outcome, send_guarded};
use futures_util::{StreamExt, stream::FuturesOrdered};
use postern_config::backend::{
    BackendConfig,
    flow::Counted,
    send::{Recipients, Send as SendTable},
};
use postern_service::metrics::SendingMetrics;
use postern_shared::{
    message::{Identity, Outbound},
    text::segmentation,
};
use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

/// Sends when it may.
pub(crate) struct Paced {
    backend: Arc<dyn Backend>,
    metrics: SendingMetrics,
    /// Absent where there is no rate: then a message is one call of the sender.
    pieces: Option<Pieces>,
}

/// How a message is divided where there is a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pieces {
    count: Counted,
    /// The most identities of one request.
    size: usize,
    /// The most requests of one message in flight.
    at_a_time: usize,
}

impl Pieces {
    fn new(backend: &BackendConfig) -> Option<Self> {
        let size = match &backend.definition.send {
            Some(SendTable { recipients: Recipients::Joined | Recipients::List, batch, .. }) => *batch,
            // What the sender makes of several is not known: it gets one at a time.
            Some(_) | None => 1,
        };
        let at_a_time = usize::from(backend.concurrency.max(1));
        backend.definition.rate.map(|rate| Self { count: rate.count, size: size.max(1), at_a_time })
    }

    /// What a request with `text` to so many counts.
    fn cost(self, text: &str, identities: usize) -> u32 {
        let cost = match self.count {
            Counted::Messages => identities,
            Counted::Segments => identities.saturating_mul(segmentation(text).segments),
            Counted::Requests => 1,
        };
        u32::try_from(cost).unwrap_or(u32::MAX)
    }
}

impl Paced {
    /// `backend`'s.
    pub(crate) fn new(config: &BackendConfig, backend: Arc<dyn Backend>, metrics: SendingMetrics) -> Self {
        Self { backend, metrics, pieces: Pieces::new(config) }
    }

    /// How long a call for so many identities may take.
    pub(crate) fn deadline(&self, identities: usize) -> Duration {
        self.backend.deadline(identities)
    }

    /// One outcome for each of `identities`, in their order: what became of `text`, which is
    /// `message`'s or a part of it. Those whose turn did not come in time failed with `not_begun`.
    pub(crate) async fn send(
        &self,
        pass: &Pass,
        message: &Outbound,
        text: &str,
        identities: &[Identity],
    ) -> Vec<Outcome> {
        let Some(pieces) = self.pieces else {
            return self.piece(pass, pass.request(0).await, message, text, identities).await;
        };
        let (mut answers, mut flying) = (Vec::with_capacity(identities.len()), FuturesOrdered::new());
        for piece in identities.chunks(pieces.size) {
            while flying.len() >= pieces.at_a_time {
                answers.extend(flying.next().await.into_iter().flatten());
            }
            let mut turn = pin!(pass.request(pieces.cost(text, piece.len())));
            let turn = loop {
                tokio::select! {
                    biased;
                    Some(answer) = flying.next(), if !flying.is_empty() => answers.extend(answer),
                    turn = &mut turn => break turn,
                }
            };
            flying.push_back(self.piece(pass, turn, message, text, piece));
        }
        pass.moves_on();
        while let Some(answer) = flying.next().await {
            answers.extend(answer);
        }
        answers
    }

    /// One call of the sender, where `turn` allows it.
    async fn piece(
        &self,
        pass: &Pass,
        turn: Result<(), Held>,
        message: &Outbound,
        text: &str,
        identities: &[Identity],
    ) -> Vec<Outcome> {
        if let Err(held) = turn {
            return vec![Err(held.failure()); identities.len()];
        }
        let begun = Instant::now();
        self.metrics.in_flight.inc();
        // Also where the drain's deadline ends it.
        let _ends = Ends(&self.metrics);
        let mut outcomes = send_guarded(&*self.backend, message, text, identities).await;
        let took = begun.elapsed();
        self.metrics.send_duration.observe(took.as_secs_f64());
        pass.note(&mut outcomes, took);
        outcomes
    }
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
    use postern_config::{Catalogue, Config};

    fn pieces(more: &str) -> Option<Pieces> {
        let text = format!("[backends.demo]\ntype = \"http\"\nsend = {{ url = \"http://h/\", {more}");
        let config = Config::parse("test", Some(&text), [], &Catalogue::builtin()).unwrap();
        Pieces::new(config.backends.values().next().unwrap())
    }

    #[test]
    fn a_request_costs_what_the_provider_counts() {
        assert_eq!(pieces("}"), None);
        let long = "x".repeat(200);
        for (more, size, identities, cost) in [
            ("}\nrate = \"1/s\"", 1, 1, 1),
            ("recipients = \"list\", batch = 50 }\nrate = \"1/s\"", 50, 50, 50),
            ("recipients = \"joined\" }\nrate = { limit = \"1/s\", count = \"requests\" }", 100, 70, 1),
            ("recipients = \"joined\" }\nrate = { limit = \"1/s\", count = \"segments\" }", 100, 70, 140),
            ("}\nrate = { limit = \"1/s\", count = \"segments\" }", 1, 1, 2),
        ] {
            let pieces = pieces(more).unwrap();
            assert_eq!((pieces.size, pieces.cost(&long, identities)), (size, cost), "{more}");
        }
    }
}
