//! Taking over another configuration while messages are sent.

use crate::validated::Validated;
use std::fmt;
use tokio::sync::{mpsc, oneshot};

/// Another configuration, and whom to tell that it holds.
pub(crate) struct Takeover {
    pub(crate) validated: Validated,
    pub(crate) done: oneshot::Sender<()>,
}

/// Has a running dispatcher take over another configuration. Clones are of the same dispatcher.
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

    /// Serves what `validated` says from now on. A backend that did not change goes on as it is; one that did
    /// is replaced: the new one begins, and the old one ends what it has in flight. A backend that is no
    /// longer there ends so too, and leaves its messages in its queues, which the broker must have for a new
    /// one. Waits for no drain.
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
