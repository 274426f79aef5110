//! One message of the ledger. There may be a million, each of about a hundred bytes.

use std::time::Instant;
use uuid::Uuid;

/// How a message came in, which determines where it comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// From a provider's form, or as one of several in a JSON body. It goes to the application.
    Received,
    /// By `POST /v1/messages`. It goes to the provider.
    Submitted,
}

impl Way {
    pub(crate) const BOTH: [Self; 2] = [Self::Received, Self::Submitted];
}

/// How a message's end answers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It takes the message.
    Taken,
    /// It answers 503 the first time and takes the retry.
    PutOff,
    /// It answers 400 each time, which makes a dead letter.
    Refused,
}

impl Fate {
    /// The fate of the message with this number.
    pub(crate) fn of(number: usize) -> Self {
        match number % 64 {
            7 | 28 | 49 => Self::PutOff,
            14 => Self::Refused,
            _ => Self::Taken,
        }
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) way: Way,
    /// The number of the first message in the same request.
    pub(super) request: u32,
    pub(super) begun: Instant,
    /// When it was last posted.
    pub(super) tried: Instant,
    /// When its end last took or refused it.
    pub(super) ended: Option<Instant>,
    /// The id in its answer, or with which it was seen.
    pub(super) id: Option<Uuid>,
    /// How often it was posted.
    pub(super) tries: u16,
    /// How often its end took or refused it.
    pub(super) ends: u16,
    pub(super) reports: u16,
    pub(super) accepted: bool,
    pub(super) put_off: bool,
    pub(super) cancelled: bool,
}

impl Entry {
    pub(super) fn new(way: Way, request: u32) -> Self {
        let begun = Instant::now();
        Self {
            way,
            request,
            begun,
            tried: begun,
            ended: None,
            id: None,
            tries: 0,
            ends: 0,
            reports: 0,
            accepted: false,
            put_off: false,
            cancelled: false,
        }
    }

    /// When something last happened to it.
    pub(super) fn last(&self) -> Instant {
        self.ended.unwrap_or(self.begun)
    }
}
