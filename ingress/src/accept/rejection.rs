//! Why a message was not accepted.

use super::MAX_STORED;
use postern_config::backend::identity::NotARecipient;
use postern_shared::{
    message::{BackendName, MAX_CONTEXT_BYTES},
    text::{media::MediaProblem, policy::TooLong},
};

/// A message that was not accepted. Nothing of it is stored as far as is known.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Rejected {
    /// The backend that it would have been sent through, if that was decided.
    pub(crate) backend: Option<BackendName>,
    /// Why.
    pub(crate) reason: Rejection,
}

/// Why a message was not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    /// The principal may not use the backend that it names.
    #[error("this key may not use the backend {0}")]
    Forbidden(BackendName),
    /// There is no such backend.
    #[error("there is no backend {0}")]
    UnknownBackend(BackendName),
    /// The name that the client gives leads to no backend.
    #[error("no backend is configured for the destination")]
    NotRoutable,
    /// The backend cannot send.
    #[error("the backend {0} only receives: its configuration has no send table")]
    ReceivesOnly(BackendName),
    /// These identities, by their positions, are not one recipient of the backend. At least one and at
    /// most 20 of them.
    #[error("an identity is not a valid recipient of the backend")]
    NotRecipients(Vec<(usize, NotARecipient)>),
    /// The messages that the submission would be split into are too large together. It holds the
    /// backend's `send.batch`.
    #[error(
        "text and context are stored once for every {0} recipients (send.batch), which takes more than \
         {MAX_STORED} bytes in total: send to fewer recipients at a time"
    )]
    TooMuchToStore(usize),
    /// The text is longer than the backend takes.
    #[error("too long for the backend {backend}: {why}")]
    TextTooLong {
        /// The backend.
        backend: BackendName,
        /// By how much.
        why: TooLong,
    },
    /// The media in its context are none, or the backend refuses them.
    #[error("not accepted for the backend {backend}: {why}")]
    Media {
        /// The backend.
        backend: BackendName,
        /// Why.
        why: MediaProblem,
    },
    /// The context, with the callback in it, is larger than a message may carry.
    #[error("context must have at most {MAX_CONTEXT_BYTES} bytes")]
    ContextTooLarge,
    /// The broker will never accept it: its limit on messages is lower than it should be.
    #[error("the message is larger than the broker accepts")]
    TooLarge,
    /// The broker did not confirm it. The client should try again.
    #[error("not stored")]
    Unavailable,
}

/// The part of a submission that a rejection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubmissionField {
    /// The backend, or the client's name for it.
    Destination,
    /// The recipients.
    Recipients,
    /// The text.
    Text,
    /// The context, or the callback in it.
    Context,
}

impl Rejection {
    /// The part of the submission that is wrong; `None` if none is.
    pub(crate) fn field(&self) -> Option<SubmissionField> {
        match self {
            Self::Forbidden(_) | Self::UnknownBackend(_) | Self::NotRoutable | Self::ReceivesOnly(_) => {
                Some(SubmissionField::Destination)
            }
            Self::NotRecipients(_) | Self::TooMuchToStore(_) => Some(SubmissionField::Recipients),
            Self::TextTooLong { .. } => Some(SubmissionField::Text),
            Self::Media { .. } | Self::ContextTooLarge => Some(SubmissionField::Context),
            Self::TooLarge | Self::Unavailable => None,
        }
    }
}
