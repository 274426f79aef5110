//! Which part of a request is messages, by `receive`, or delivery reports, by `status`.

use super::{list_reads::ListReads, refusal::Refusal};
use crate::forms::Request;
use postern_config::backend::{each::Each, expression::When, receive::Receive, status::Status};

/// Chooses the requests, or the items of their bodies, that are messages, or those that are delivery reports.
#[derive(Debug)]
pub(super) struct Choice {
    /// The condition for a request, or for an item, to be one. `None`: always true.
    pub(super) when: Option<When>,
    /// The lists of a body whose items are one message or report each. `None`: the request as a whole is one.
    pub(super) each: Option<Each>,
    /// The names of the two in the configuration.
    pub(super) when_key: &'static str,
    pub(super) each_key: &'static str,
    list_reads: ListReads,
}

impl Choice {
    /// The choice of messages.
    pub(super) fn of_messages(Receive { when, each, params, .. }: &Receive) -> Self {
        Self {
            when: when.clone(),
            each: each.clone(),
            when_key: "receive.when",
            each_key: "receive.each",
            list_reads: ListReads::new(params),
        }
    }

    /// The choice of delivery reports.
    pub(super) fn of_reports(Status { when, each, params, .. }: &Status) -> Self {
        Self {
            when: when.clone(),
            each: each.clone(),
            when_key: "status.when",
            each_key: "status.each",
            list_reads: ListReads::new(params),
        }
    }

    /// Whether a request can be refused for the items of its lists.
    pub(super) fn refuses_items(&self) -> bool {
        !self.list_reads.is_empty() || self.each.is_some()
    }

    /// Checks that no list in `request` is read only in part. `place` is set if `request` is an item of a
    /// batch.
    ///
    /// # Errors
    /// [`Refusal::Unread`]
    pub(super) fn check(&self, request: &Request<'_>, place: Option<&str>) -> Result<(), Refusal> {
        let read = self.list_reads.check(request, place);
        read.map_err(|unread| Refusal::Unread(unread, self.each_key))
    }
}
