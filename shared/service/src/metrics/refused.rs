//! Why requests are refused, as metrics and logs say it, and how many are.

use super::Metrics;
use postern_shared::message::BackendName;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// Why a request on the public port was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// Its address is not in `receive.allow`.
    Address,
    /// No known user name and password.
    Password,
    /// No known token.
    Token,
    /// No right signature.
    Signature,
    /// What is signed was signed too long ago, or by another clock.
    Stale,
    /// No known API key.
    Key,
    /// An API key that has expired.
    Expired,
    /// A backend that its API key may not use.
    Backend,
    /// Too many requests of one address or one API key.
    Rate,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Address,
        Self::Password,
        Self::Token,
        Self::Signature,
        Self::Stale,
        Self::Key,
        Self::Expired,
        Self::Backend,
        Self::Rate,
    ];

    /// The name in metric labels and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Password => "password",
            Self::Token => "token",
            Self::Signature => "signature",
            Self::Stale => "stale",
            Self::Key => "key",
            Self::Expired => "expired",
            Self::Backend => "backend",
            Self::Rate => "rate",
        }
    }
}

/// The counts.
#[derive(Debug, Clone)]
pub(super) struct Refusals {
    public: IntCounterVec,
    admin: IntCounter,
}

impl Refusals {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Requests on the public port that were not let in; backend is empty for /v1 and for the compatibility listeners";
        let public = IntCounterVec::new(Opts::new("ingress_refused_total", help), &["backend", "reason"])?;
        let admin = IntCounter::new("admin_refused_total", "Requests on the admin port without its token")?;
        registry.register(Box::new(public.clone()))?;
        registry.register(Box::new(admin.clone()))?;
        Ok(Self { public, admin })
    }
}

impl Metrics {
    /// The refusals of `backend`, or of `/v1` and the compatibility listeners, there from the start.
    pub fn declare_refused(&self, backend: Option<&BackendName>, reasons: &[Refused]) {
        let backend = backend.map_or("", BackendName::as_str);
        for reason in reasons {
            self.refusals.public.with_label_values(&[backend, reason.as_str()]);
        }
    }

    /// Notes that a request was refused. `backend` is `None` for `/v1` and for the compatibility listeners, and where
    /// it named none that is configured.
    pub fn refused(&self, backend: Option<&BackendName>, reason: Refused) {
        let backend = backend.map_or("", BackendName::as_str);
        self.refusals.public.with_label_values(&[backend, reason.as_str()]).inc();
    }

    /// Notes that a request on the admin port did not show its token.
    pub fn admin_refused(&self) {
        self.refusals.admin.inc();
    }
}
