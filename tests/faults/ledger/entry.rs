//! One message of the ledger. Of a million, each takes about a hundred bytes.

use std::time::Instant;
use uuid::Uuid;

/// How a message came in, and so at which end it comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// From a provider's form, or one of several in a JSON body: to the application.
    Received,
    /// By `POST /v1/messages`: to the provider.
    Submitted,
}

impl Way {
    pub(crate) const BOTH: [Self; 2] = [Self::Received, Self::Submitted];
}

/// What the end where a message comes out makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It takes it.
    Taken,
    /// It says 503 the first time, and takes it then: a retry.
    PutOff,
    /// It says 400 each time: a dead letter.
    Refused,
}

impl Fate {
    /// That of the message with this number.
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
    /// The first message of the request that it was posted with.
    pub(super) request: u32,
    pub(super) begun: Instant,
    /// When it was last posted.
    pub(super) tried: Instant,
    /// When its end last took it, or refused it.
    pub(super) ended: Option<Instant>,
    /// Under which id it was answered or seen.
    pub(super) id: Option<Uuid>,
    /// How often it was posted.
    pub(super) tries: u16,
    /// How often its end took it or refused it.
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

    /// When anything last happened to it.
    pub(super) fn last(&self) -> Instant {
        self.ended.unwrap_or(self.begun)
    }
}
