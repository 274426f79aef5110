//! How many tasks there are, and waiting for their end.

use std::sync::Arc;
use tokio::sync::watch;

/// Counts tasks.
#[derive(Debug, Default)]
pub(crate) struct Census(Arc<watch::Sender<usize>>);

impl Census {
    /// One more, until the answer is dropped.
    pub(crate) fn enter(&self) -> Counted {
        self.0.send_modify(|count| *count += 1);
        Counted(Arc::clone(&self.0))
    }

    /// Resolves when there is none.
    pub(crate) async fn none(&self) {
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// One that [`Census`] counts.
#[derive(Debug)]
pub(crate) struct Counted(Arc<watch::Sender<usize>>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}
