//! Look-ups in the message log that help to answer a request but may fail: which message a delivery report is
//! about, and whether a submission is a repetition. No request waits long for them.

use crate::metrics::{Lookup, LookupMetrics};
use postern_service::message_log::{LogError, MessageLog};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// How long the look-ups of one request may take in total.
const DEADLINE: Duration = Duration::from_secs(1);
/// How long a log that failed is not asked the same kind of question again.
const REST: Duration = Duration::from_secs(5);

/// Look-ups in the message log whose answers requests can do without.
#[derive(Debug)]
pub(crate) struct LogLookup {
    log: Option<Arc<dyn MessageLog>>,
    metrics: LookupMetrics,
    /// When the log may be asked again what it did not answer. Each kind of question rests by itself: a request
    /// with more delivery reports than can be looked up in time leaves submissions their look-ups, without
    /// which a repetition is sent twice.
    rests: Mutex<BTreeMap<Lookup, Instant>>,
}

impl LogLookup {
    /// Look-ups in `log`; `None` if there is no message log.
    pub(crate) fn new(log: Option<Arc<dyn MessageLog>>, metrics: LookupMetrics) -> Self {
        Self { log, metrics, rests: Mutex::default() }
    }

    /// Whether there is a message log.
    pub(crate) fn has_log(&self) -> bool {
        self.log.is_some()
    }

    /// Asks the log `question`. `None` without a log, or if the log does not answer in time: that is counted
    /// and logged. Then the log is not asked the same kind of question for a while, and each question that is
    /// skipped is counted, too.
    pub(crate) async fn ask<T>(
        &self,
        lookup: Lookup,
        question: impl AsyncFnOnce(&dyn MessageLog) -> Result<T, LogError>,
    ) -> Option<T> {
        let log = self.log.as_deref()?;
        if self.rests(lookup) {
            self.metrics.failed(lookup);
            return None;
        }
        let failure = match timeout(DEADLINE, question(log)).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => error,
            Err(_) => LogError::TimedOut(DEADLINE),
        };
        self.metrics.failed(lookup);
        self.rests.lock().unwrap_or_else(PoisonError::into_inner).insert(lookup, Instant::now() + REST);
        let lookup = lookup.as_str();
        let seconds = REST.as_secs_f64();
        tracing::warn!(lookup, error = %failure, seconds, "the message log did not answer a look-up, look-ups paused");
        None
    }

    fn rests(&self, lookup: Lookup) -> bool {
        let rests = self.rests.lock().unwrap_or_else(PoisonError::into_inner);
        rests.get(&lookup).is_some_and(|until| Instant::now() < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::IngressMetrics;
    use postern_service::metrics::Metrics;
    use postern_store::message_log::{Keeping, SqliteLog};

    /// A log that does not answer is waited for once, and then not asked the same for a while.
    #[tokio::test]
    async fn a_log_that_hangs_holds_up_one_request_and_rests() {
        let folder = tempfile::tempdir().unwrap();
        let log = SqliteLog::open(folder.path(), Keeping::full()).await.unwrap();
        let metrics = Metrics::new("test", "0").unwrap();
        let lookups = IngressMetrics::declare(&metrics).unwrap().lookups;
        let lookup = LogLookup::new(Some(Arc::new(log)), lookups.clone());
        let failures = |number: u32| {
            let line =
                format!("postern_ingress_log_lookup_failures_total{{lookup=\"submission\"}} {number}\n");
            metrics.text().contains(&line)
        };
        let begun = Instant::now();
        let hangs = async |_: &dyn MessageLog| std::future::pending::<Result<(), LogError>>().await;
        assert_eq!(lookup.ask(Lookup::Submission, hangs).await, None);
        assert!(begun.elapsed() >= DEADLINE);
        assert!(failures(1), "{}", metrics.text());
        let answers = async |_: &dyn MessageLog| Ok(7);
        assert_eq!(lookup.ask(Lookup::Submission, answers).await, None);
        assert!(failures(2), "also what was not asked counts");
        assert_eq!(lookup.ask(Lookup::Report, answers).await, Some(7), "only this question rests");
        // The pause ends.
        lookup.rests.lock().unwrap().insert(Lookup::Submission, Instant::now());
        assert_eq!(lookup.ask(Lookup::Submission, answers).await, Some(7));
        let off = LogLookup::new(None, lookups);
        assert_eq!(off.ask(Lookup::Submission, answers).await, None);
        assert!(failures(2), "what is off does not fail");
    }
}
