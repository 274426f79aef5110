//! Messages that wait for backends that are not configured: the queues of a backend that was renamed or
//! removed stay, and the person who removed it may not know.

use super::Operator;
use postern_shared::{control::ControlCommand, message::BackendName};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::sleep;

/// The pause between two looks at the queues.
const PERIOD: Duration = Duration::from_secs(10);

/// How many messages waited for backends that are not configured, at the last look. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Unconfigured(Arc<Mutex<BTreeMap<BackendName, u64>>>);

impl Unconfigured {
    /// How many messages wait for each backend that is not configured.
    pub fn all(&self) -> BTreeMap<BackendName, u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What an operator should know, one sentence for each backend that messages wait for.
    pub fn remarks(&self) -> Vec<String> {
        let all = self.all();
        all.iter()
            .filter(|(_, messages)| **messages > 0)
            .map(|(backend, messages)| remark(backend, *messages))
            .collect()
    }

    /// Looks at the queues repeatedly until the future is dropped. First records the backends of this
    /// configuration in the control stream, so that their queues are looked at when they are no longer
    /// configured.
    pub async fn watch(self, operator: Arc<Operator>) {
        operator.control.until_read().await;
        loop {
            if let Err(error) = operator.make_known().await {
                tracing::debug!(%error, "the configured backends cannot be written to postern.control, retrying");
            }
            if let Ok(found) = operator.unconfigured().await {
                self.set(found);
            }
            sleep(PERIOD).await;
        }
    }

    fn set(&self, found: BTreeMap<BackendName, u64>) {
        let before =
            std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), found.clone());
        for (backend, messages) in found {
            let waited = before.get(&backend).is_some_and(|messages| *messages > 0);
            if messages > 0 && !waited {
                tracing::warn!(backend = backend.as_str(), messages, "{}", remark(&backend, messages));
            }
        }
    }
}

impl Operator {
    /// Records the backends of this configuration in the control stream, if they are new.
    async fn make_known(&self) -> Result<(), super::CommandError> {
        let state = self.control.state();
        let new: Vec<_> = self.configured.get().backends().difference(state.known()).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        self.command(ControlCommand::Known { backends: new }, &super::this_machine()).await?;
        Ok(())
    }
}

fn remark(backend: &BackendName, messages: u64) -> String {
    let wait = if messages == 1 { "message waits" } else { "messages wait" };
    format!(
        "{messages} {wait} for {backend}, which is not configured: `postern queue move {backend} OTHER` \
         moves them to another backend, `postern queue purge {backend}` drops them"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_backends_that_messages_wait_for_are_remarked() {
        let unconfigured = Unconfigured::default();
        let [clinic, other]: [BackendName; 2] = ["clinic", "other"].map(|name| name.parse().unwrap());
        unconfigured.set([(clinic.clone(), 40), (other.clone(), 0)].into());
        let remarks = unconfigured.remarks();
        assert_eq!(remarks.len(), 1, "{remarks:?}");
        assert!(
            remarks[0].starts_with("40 messages wait for clinic, which is not configured"),
            "{remarks:?}"
        );
        unconfigured.set([(clinic, 1), (other, 0)].into());
        assert!(unconfigured.remarks()[0].starts_with("1 message waits for clinic, "));
        assert_eq!(unconfigured.all().len(), 2, "a metric goes on showing one that is empty");
    }
}
