//! The reasons why a message was not accepted.

use super::MAX_STORED;
use postern_config::backend::identity::NotARecipient;
use postern_shared::{
    message::{BackendName, MAX_CONTEXT_BYTES},
    text::{media::MediaProblem, policy::TooLong},
};

/// A message that was not accepted. As far as is known, nothing of it is stored.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Rejected {
    /// The backend that the message would have been sent through, if one was found.
    pub(crate) backend: Option<BackendName>,
    /// The reason.
    pub(crate) reason: Rejection,
}

/// The reason why a message was not accepted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    /// The principal may not use the backend that it names.
    #[error("this key may not use the backend {0}")]
    Forbidden(BackendName),
    /// No backend with this name is configured.
    #[error("there is no backend {0}")]
    UnknownBackend(BackendName),
    /// The client names no backend, or its name for one leads nowhere.
    #[error("no backend is configured for the destination")]
    NotRoutable,
    /// The backend cannot send.
    #[error("the backend {0} only receives: its configuration has no send table")]
    ReceivesOnly(BackendName),
    /// These identities, with their positions, are not valid recipients of the backend: at least one, and at
    /// most 20.
    #[error("an identity is not a valid recipient of the backend")]
    NotRecipients(Vec<(usize, NotARecipient)>),
    /// The messages that the submission would be split into are too large together. Holds the backend's
    /// `send.batch`.
    #[error(
        "text and context are stored once for every {0} recipients (send.batch), which takes more than \
         {MAX_STORED} bytes in total: send to fewer recipients at a time"
    )]
    TooMuchToStore(usize),
    /// The text is longer than the backend accepts.
    #[error("too long for the backend {backend}: {why}")]
    TextTooLong {
        /// The backend.
        backend: BackendName,
        /// The text's length and the limit.
        why: TooLong,
    },
    /// The media in the context are invalid, or the backend refuses them.
    #[error("not accepted for the backend {backend}: {why}")]
    Media {
        /// The backend.
        backend: BackendName,
        /// What is wrong with the media.
        why: MediaProblem,
    },
    /// The context, with the callback in it, is larger than a message may carry.
    #[error("context must have at most {MAX_CONTEXT_BYTES} bytes")]
    ContextTooLarge,
    /// The broker will never accept the message: the broker's size limit is lower than it should be.
    #[error("the message is larger than the broker accepts")]
    TooLarge,
    /// The broker did not confirm the message. The client should try again.
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
