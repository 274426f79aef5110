//! What a backend sends through: `connector` names the kind, and each kind has its own keys.

use super::{
    identity::NotARecipient,
    send::{Recipients, Send, WhenUncertain, hundred},
};
use postern_shared::message::Identity;
use serde::Deserialize;

/// The name of the kind that sends over HTTP.
pub(crate) const HTTP: &str = "http";
/// The name of the kind that writes log lines.
pub(crate) const CONSOLE: &str = "console";
/// The setting of the kind `console` that makes it print messages.
pub const SHOW: &str = "show";
/// The kinds that need no registration.
pub(crate) const BUILT_IN: [&str; 2] = [CONSOLE, HTTP];

/// A backend's connector, with the configuration for its kind.
#[derive(Debug, Clone)]
pub enum ConnectorConfig {
    /// `connector = "http"`: sends requests as the `send` table says. Without the table, the backend only
    /// receives.
    Http(Option<Box<Send>>),
    /// `connector = "console"`: writes one log line for each message.
    Console,
    /// A kind that a program registered in Rust. It is configured by the backend's `settings`.
    Registered(RegisteredConnector),
}

/// A connector of a kind that was registered in Rust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisteredConnector {
    /// The name under which the kind was registered.
    pub kind: String,
    /// Whether the kind can send.
    pub direction: ConnectorDirection,
    /// How its sender is called: the backend's `send` table.
    pub calls: CallTable,
}

/// Whether a registered kind of connector can send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectorDirection {
    /// It sends, and may receive too.
    Sends,
    /// It only receives: a message for it is refused.
    ReceivesOnly,
}

/// The `send` table of a backend whose connector was registered in Rust: how its sender is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CallTable {
    /// How many recipients one call has if the backend has a rate.
    #[serde(default)]
    pub recipients: Recipients,
    /// The most identities in one queued message. 1 to 10,000.
    #[serde(default = "hundred")]
    pub batch: usize,
    /// What to do after an outcome of class `unknown`.
    #[serde(default)]
    pub unanswered: WhenUncertain,
    /// What to do after an outcome with the code `not_accepted`.
    #[serde(default)]
    pub not_accepted: WhenUncertain,
}

impl CallTable {
    /// The most recipients of one request.
    pub fn recipients_per_request(&self) -> usize {
        match self.recipients {
            Recipients::Each => 1,
            Recipients::Joined | Recipients::List => self.batch.max(1),
        }
    }
}

impl Default for CallTable {
    fn default() -> Self {
        Self {
            recipients: Recipients::default(),
            batch: hundred(),
            unanswered: WhenUncertain::default(),
            not_accepted: WhenUncertain::default(),
        }
    }
}

impl ConnectorConfig {
    /// The kind's name in the key `connector`.
    pub fn kind(&self) -> &str {
        match self {
            Self::Http(_) => HTTP,
            Self::Console => CONSOLE,
            Self::Registered(registered) => &registered.kind,
        }
    }

    /// Whether messages can be sent through it.
    pub fn sends(&self) -> bool {
        match self {
            Self::Http(send) => send.is_some(),
            Self::Console => true,
            Self::Registered(registered) => registered.direction == ConnectorDirection::Sends,
        }
    }

    /// The `send` table of a backend that sends over HTTP; `None` for any other.
    pub fn http(&self) -> Option<&Send> {
        match self {
            Self::Http(send) => send.as_deref(),
            Self::Console | Self::Registered(_) => None,
        }
    }

    /// Checks that `identity` is one recipient. Kinds that do not send over HTTP accept any identity.
    ///
    /// # Errors
    /// Why the identity is not one recipient.
    pub fn check_identity(&self, identity: &Identity) -> Result<(), NotARecipient> {
        self.http().map_or(Ok(()), |send| send.check_identity(identity))
    }

    /// How its sender is called.
    pub fn calls(&self) -> CallTable {
        match self {
            Self::Http(Some(send)) => {
                let Send { recipients, batch, unanswered, not_accepted, .. } = **send;
                CallTable { recipients, batch, unanswered, not_accepted }
            }
            Self::Http(None) | Self::Console => CallTable::default(),
            Self::Registered(registered) => registered.calls,
        }
    }
}
