//! The clients that send and read, and the backends that each may use.

use postern_config::{ApiKey, CompatUser, Right};
use postern_shared::{message::BackendName, value::BackendSelection};

/// An authenticated client.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Principal<'a> {
    /// Any client on this machine, if no API keys are configured. The configuration then has `/v1`
    /// on a loopback address only.
    Anyone,
    /// The holder of an API key.
    ApiKey(&'a ApiKey),
    /// A user of a compatibility listener.
    CompatUser(&'a CompatUser),
}

impl Principal<'_> {
    /// The name from which, with an idempotency key, a message id is made.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Anyone => "anonymous",
            Self::ApiKey(key) => &key.name,
            Self::CompatUser(user) => &user.username,
        }
    }

    /// The principal's name, if it has proved who it is.
    pub(crate) fn shown_name(&self) -> Option<&str> {
        match self {
            Self::Anyone => None,
            Self::ApiKey(_) | Self::CompatUser(_) => Some(self.name()),
        }
    }

    /// Whether the principal has `right` at `/v1`.
    pub(crate) fn may(&self, right: Right) -> bool {
        match self {
            Self::Anyone => true,
            Self::ApiKey(key) => key.may(right),
            Self::CompatUser(_) => right == Right::Send,
        }
    }

    /// The backends whose messages the principal may see.
    pub(crate) fn allowed(&self) -> BackendSelection {
        match self {
            Self::Anyone => BackendSelection::All,
            Self::ApiKey(key) => key.backends.clone(),
            Self::CompatUser(_) => BackendSelection::Some(Vec::new()),
        }
    }

    /// Whether the principal may send through `backend` and see it.
    pub(crate) fn may_use(&self, backend: &BackendName) -> bool {
        match self {
            Self::Anyone => true,
            Self::ApiKey(key) => key.backends.contains(backend),
            Self::CompatUser(user) => user.may_use(backend),
        }
    }

    /// The backend that the principal means by `destination`. For a compatibility user, that is what its own
    /// table says, or its own backend without a `destination`; for all others, the backend of that name.
    /// `None` if there is none.
    pub(crate) fn route(&self, destination: Option<&str>) -> Option<BackendName> {
        match self {
            Self::CompatUser(user) => user.route(destination),
            Self::Anyone | Self::ApiKey(_) => destination?.parse().ok(),
        }
    }
}
