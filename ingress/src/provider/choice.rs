//! What `receive` or `status` says of which part of a request it is about.

use super::{list_reads::ListReads, refusal::Refusal};
use crate::forms::Request;
use postern_config::backend::{each::Each, expression::When, receive::Receive, status::Status};

/// Which requests, and which items of their bodies, are messages, or which are delivery reports.
#[derive(Debug)]
pub(super) struct Choice {
    /// Which requests bring any, or which items are any.
    pub(super) when: Option<When>,
    /// Which lists of a body have an item for each.
    pub(super) each: Option<Each>,
    /// What the configuration calls the two.
    pub(super) when_key: &'static str,
    pub(super) each_key: &'static str,
    list_reads: ListReads,
}

impl Choice {
    /// Which part of a request is messages.
    pub(super) fn of_messages(Receive { when, each, params, .. }: &Receive) -> Self {
        Self {
            when: when.clone(),
            each: each.clone(),
            when_key: "receive.when",
            each_key: "receive.each",
            list_reads: ListReads::new(params),
        }
    }

    /// Which part of a request is delivery reports.
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

    /// Whether `request`, of a batch the item at `place`, has no list of which only a part is read.
    ///
    /// # Errors
    /// The refusal of a request that has one.
    pub(super) fn check(&self, request: &Request<'_>, place: Option<&str>) -> Result<(), Refusal> {
        let read = self.list_reads.check(request, place);
        read.map_err(|unread| Refusal::Unread(unread, self.each_key))
    }
}
