//! Keeps track of the request that a connection works on, for the connection's stream: actix-http reads
//! further requests while it works on one, and does not report when a request begins and when it is
//! answered.

use actix_http::{Payload, Request, error::PayloadError};
use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytes::Bytes;
use futures_util::Stream;
use std::{
    cell::Cell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

/// How many bytes may be read ahead each time a handler asks for more of a body: as many as actix-http
/// buffers of a body that nobody reads.
const BODY_AHEAD: usize = 32 * 1024;

/// How many bytes may be read ahead of a request whose body is complete: as many as one read returns, so
/// that a client that goes away is noticed.
const AHEAD: usize = 1;

/// The request that one connection works on.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    in_flight: Cell<bool>,
    answered: Cell<bool>,
    /// Whether the handler has not seen the end of the last request's body.
    body_unread: Cell<bool>,
    /// Bytes that may be read while a request is in flight.
    ahead: Cell<usize>,
}

impl Exchange {
    /// Whether a request is being answered: its head is complete, but the end of its answer has not been
    /// written to the stream.
    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.get()
    }

    /// Whether anything written now is not a handler's answer: no request is in flight, and none was
    /// answered since the last call of [`take_answered`](Self::take_answered).
    pub(super) fn is_idle(&self) -> bool {
        !self.in_flight.get() && !self.answered.get()
    }

    /// Whether more may be read from the client now.
    pub(super) fn may_read(&self) -> bool {
        !self.in_flight.get() || self.ahead.get() > 0
    }

    /// Notes that `count` bytes were read.
    pub(super) fn note_read(&self, count: usize) {
        self.ahead.set(self.ahead.get().saturating_sub(count));
    }

    /// How a request was answered since the last call. `None` if none was, or if a request is in flight.
    pub(super) fn take_answered(&self) -> Option<Answered> {
        if self.in_flight.get() || !self.answered.replace(false) {
            return None;
        }
        Some(if self.body_unread.get() { Answered::BodyUnread } else { Answered::Whole })
    }

    /// Notes that `request` begins. It is in flight until the returned value is dropped.
    pub(super) fn begin(self: Rc<Self>, request: &mut Request) -> RequestInFlight {
        self.in_flight.set(true);
        self.ahead.set(AHEAD);
        self.body_unread.set(false);
        if matches!(request.payload(), Payload::H1 { .. }) {
            self.body_unread.set(true);
            let body = RequestBody { payload: request.take_payload(), exchange: Rc::clone(&self) };
            *request.payload() = Payload::Stream { payload: Box::pin(body) };
        }
        RequestInFlight(self)
    }
}

/// How a request was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// The whole request was read.
    Whole,
    /// The handler did not read its body to the end.
    BodyUnread,
}

/// A request that is in flight until this is dropped.
#[derive(Debug)]
pub(super) struct RequestInFlight(Rc<Exchange>);

impl RequestInFlight {
    /// Keeps the request in flight until the body of its answer has been written.
    pub(super) fn until_written(in_flight: Option<Self>, body: BoxBody) -> InFlightBody {
        InFlightBody { body, _in_flight: in_flight }
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        self.0.in_flight.set(false);
        self.0.answered.set(true);
    }
}

/// The body of a request. More of it is read from the client only when the handler asks for it.
struct RequestBody {
    payload: Payload,
    exchange: Rc<Exchange>,
}

impl Stream for RequestBody {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.payload).poll_next(context);
        let goes_on = matches!(next, Poll::Pending | Poll::Ready(Some(Ok(_))));
        self.exchange.ahead.set(if goes_on { BODY_AHEAD } else { AHEAD });
        self.exchange.body_unread.set(goes_on);
        next
    }
}

/// The body of an answer, which keeps its request in flight.
pub(super) struct InFlightBody {
    body: BoxBody,
    _in_flight: Option<RequestInFlight>,
}

impl MessageBody for InFlightBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
