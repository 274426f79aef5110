//! Tells a handler that makes its client wait whether the client is still there.

use tokio_util::sync::CancellationToken;

/// Tells when the client of a connection has closed its side. Clones tell the same. A handler finds it in
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

    /// Notes that the client has closed its side.
    pub(super) fn note(&self) {
        self.0.cancel();
    }
}
