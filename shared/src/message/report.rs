//! What became of a message.

use super::{BackendName, Identity, Malformed, MessageId, REPORT_V1};
use crate::clock;
use crate::error::{Failure, FailureClass};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The most characters of a provider's code for why a message was not delivered.
const MAX_CODE: usize = 64;
/// The most characters of the detail or the word that a provider's delivery report gives.
pub const MAX_DETAIL: usize = 200;

/// What became of a message, for one attempt or one delivery report (`postern.report.v1`).
///
/// ```
/// use postern_shared::{clock, error::Failure, message::{MessageId, Recipient, Report, State}};
///
/// let failure = Failure::permanent("http_400", "unknown number");
/// let report = Report {
///     message_id: MessageId::new(),
///     backend: "clinic".parse()?,
///     attempt: 1,
///     at: clock::now(),
///     recipients: vec![Recipient::failed("+15551234567".parse()?, &failure)],
/// };
/// let read = Report::from_json(&report.to_json()).unwrap();
/// assert_eq!(read.recipients[0].state, State::Failed);
/// # Ok::<(), postern_shared::message::InvalidName>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The id of the message. If a delivery report knows only the provider's id of it, this is
    /// [`MessageId::reported`], and the message is the one whose `sent` report has the same backend and
    /// `external_id`.
    pub message_id: MessageId,
    /// The backend that it was sent through.
    pub backend: BackendName,
    /// The number of the attempt, from 1. 0 if the report is about no attempt: a delivery report, or one
    /// about recipients that a compatibility listener left out.
    pub attempt: u32,
    /// When the outcome became known. UTC.
    #[serde(serialize_with = "clock::serialize")]
    pub at: Timestamp,
    /// The outcome for each recipient that the report is about.
    pub recipients: Vec<Recipient>,
}

/// What became of a message for one identity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recipient {
    /// The recipient. `None` if the delivery report does not name one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// The state of the message to this recipient.
    pub state: State,
    /// The provider's own id of the message to this identity. For a text that was sent in parts, the id
    /// of the last part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// For a text that is sent in parts, the provider's ids of the parts that this attempt sent, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_ids: Vec<String>,
    /// How many short messages the provider took over in this attempt. `None` if it took none, or does
    /// not count in short messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<usize>,
    /// Why the message was not delivered, or the provider's word for a state that the configuration does
    /// not know. `None` if there is nothing to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The status code of the provider's answer to this attempt. `None` if there was no answer, and in a
    /// delivery report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// How long the attempt took, which is mostly the wait for the provider's answer, in milliseconds. `None`
    /// if none was begun, and in a delivery report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
}

/// What is known about a message to one recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Stored, not yet tried.
    Queued,
    /// The provider took it over.
    Sent,
    /// The provider holds it for a recipient that it can't reach now.
    Buffered,
    /// The recipient has it.
    Delivered,
    /// This attempt failed; another follows.
    Retrying,
    /// It will not be sent: the last attempt failed, or trying again is pointless.
    Failed,
    /// The provider took it and could not deliver it.
    Undelivered,
    /// `expires_at` passed before it was sent.
    Expired,
    /// Nobody knows whether the provider has it, or what its report means.
    Unknown,
}

impl State {
    /// The state's name in reports and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Buffered => "buffered",
            Self::Delivered => "delivered",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::Undelivered => "undelivered",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }
}

/// Why an attempt failed, or what a delivery report gives as the reason for its state.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// Whether trying again can help.
    pub class: FailureClass,
    /// A short, stable name: `http_400`, `timeout`, `connect`.
    pub code: String,
    /// An explanation for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Recipient {
    /// A recipient to whom nothing more is sent because of `failure`: `failed`, or `unknown` if the provider
    /// may have the message.
    pub fn failed(identity: Identity, failure: &Failure) -> Self {
        let in_doubt = failure.class == FailureClass::Unknown;
        Self {
            identity: Some(identity),
            state: if in_doubt { State::Unknown } else { State::Failed },
            external_id: None,
            external_ids: Vec::new(),
            segments: None,
            reason: Some(Reason::from(failure)),
            http_status: failure.http_status,
            duration_ms: failure.duration_ms.map(u64::from),
        }
    }
}

impl Reason {
    /// The reason in a provider's delivery report, whose `word` means `state`: its `code`, or the word
    /// if there is none, and its `detail`. `None` if the state needs no reason.
    pub fn reported(state: State, word: &str, code: Option<&str>, detail: Option<&str>) -> Option<Self> {
        let class = match state {
            State::Failed | State::Undelivered | State::Expired => FailureClass::Permanent,
            State::Unknown => FailureClass::Unknown,
            State::Queued | State::Sent | State::Buffered | State::Delivered | State::Retrying => {
                return None;
            }
        };
        let code = line(code.unwrap_or(word), MAX_CODE);
        Some(Self { class, code, detail: line(detail.unwrap_or_default(), MAX_DETAIL) })
    }
}

/// The first `most` characters of `text`, on one line.
pub fn line(text: &str, most: usize) -> String {
    text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl From<&Failure> for Reason {
    fn from(failure: &Failure) -> Self {
        Self { class: failure.class, code: failure.code.to_string(), detail: failure.detail.clone() }
    }
}

impl Report {
    /// Reads the body of a queue's message.
    ///
    /// # Errors
    /// [`Malformed`] with the field at fault.
    pub fn from_json(body: &[u8]) -> Result<Self, Malformed> {
        super::json::read_json(REPORT_V1, body)
    }

    /// The body for the queue.
    pub fn to_json(&self) -> Vec<u8> {
        super::json::write_json(self)
    }
}
