//! Whether a client is still there, for a handler that lets it wait.

use tokio_util::sync::CancellationToken;

/// Tells when the client of a connection has closed its side. Clones hear the same. A handler finds it in
/// the connection's data.
///
/// actix-http goes on with a request whose client has closed its side, since some clients do this when they
/// have sent all and still read the answer.
#[derive(Debug, Clone, Default)]
pub struct ClientClosed(CancellationToken);

impl ClientClosed {
    /// Resolves when the client has closed its side; at once if it has.
    pub async fn closed(&self) {
        self.0.cancelled().await;
    }

    /// Notes that it has.
    pub(super) fn note(&self) {
        self.0.cancel();
    }
}
