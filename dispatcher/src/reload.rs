//! Replaces the configuration while messages are sent.

use crate::validated::Validated;
use std::fmt;
use tokio::sync::{mpsc, oneshot};

/// A new configuration, and the channel that is told once it applies.
pub(crate) struct Takeover {
    pub(crate) validated: Validated,
    pub(crate) done: oneshot::Sender<()>,
}

/// Replaces the configuration of a running dispatcher. Clones are of the same dispatcher.
#[derive(Clone)]
pub struct DispatcherReload(mpsc::Sender<Takeover>);

/// The dispatcher drains, or has ended.
#[derive(Debug, thiserror::Error)]
#[error("the dispatcher is draining")]
pub struct Drains;

impl DispatcherReload {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Takeover>) {
        let (sender, takeovers) = mpsc::channel(1);
        (Self(sender), takeovers)
    }

    /// Serves the configuration `validated` from now on. A backend that did not change goes on. One that
    /// changed is replaced: the new one begins, and the old one finishes what it has in flight. A backend
    /// that was removed ends in the same way, and leaves its messages in its queues. The broker must
    /// already have the queues of a new backend. Does not wait for any drain.
    ///
    /// # Errors
    /// [`Drains`]: nothing was changed.
    pub async fn apply(&self, validated: Validated) -> Result<(), Drains> {
        let (done, is_done) = oneshot::channel();
        self.0.send(Takeover { validated, done }).await.map_err(|_| Drains)?;
        is_done.await.map_err(|_| Drains)
    }
}

impl fmt::Debug for DispatcherReload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatcherReload").finish_non_exhaustive()
    }
}
