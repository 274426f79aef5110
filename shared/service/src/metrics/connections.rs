//! The metrics of connections. Labels: the name of the listener, the limit that was reached, and the status
//! of an answer.

use prometheus::{Error, IntCounterVec, IntGaugeVec, Opts, Registry};

/// The limit for which a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusedConnection {
    /// The limit of the listener.
    Total,
    /// The limit of the client's address.
    Address,
}

impl RefusedConnection {
    /// Its name in the log and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Address => "address",
        }
    }
}

/// How many connections each listener has, and how many it has refused. Clones share them.
#[derive(Debug, Clone)]
pub struct ConnectionMetrics {
    open: IntGaugeVec,
    refused: IntCounterVec,
    unread: IntCounterVec,
}

impl ConnectionMetrics {
    pub(super) fn declare(registry: &Registry) -> Result<Self, Error> {
        let open = Opts::new("connections_open", "Connections of clients that are open");
        let refused = Opts::new(
            "connections_refused_total",
            "Connections that were closed at once: too many were open",
        );
        let unread = Opts::new(
            "requests_unread_total",
            "Requests that are not valid HTTP, or whose head did not arrive in time: no handler saw them",
        );
        Ok(Self {
            open: super::declare(registry, IntGaugeVec::new(open, &["listener"])?)?,
            refused: super::declare(registry, IntCounterVec::new(refused, &["listener", "limit"])?)?,
            unread: super::declare(registry, IntCounterVec::new(unread, &["listener", "status"])?)?,
        })
    }

    /// Makes the metrics of `listener` appear from the start.
    pub fn declare_listener(&self, listener: &str) {
        self.open.with_label_values(&[listener]);
        for limit in [RefusedConnection::Total, RefusedConnection::Address] {
            self.refused.with_label_values(&[listener, limit.as_str()]);
        }
        for status in ["400", "408", "431"] {
            self.unread.with_label_values(&[listener, status]);
        }
    }

    /// Counts a connection as open.
    pub fn opened(&self, listener: &str) {
        self.open.with_label_values(&[listener]).inc();
    }

    /// Counts a connection as closed.
    pub fn closed(&self, listener: &str) {
        self.open.with_label_values(&[listener]).dec();
    }

    /// Counts a request that was answered with `status` before any handler saw it.
    pub fn unread(&self, listener: &str, status: u16) {
        self.unread.with_label_values(&[listener, &status.to_string()]).inc();
    }

    /// Counts a connection that was refused.
    pub fn refused(&self, listener: &str, limit: RefusedConnection) {
        self.refused.with_label_values(&[listener, limit.as_str()]).inc();
    }
}
