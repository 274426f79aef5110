//! The stream from which actix-http reads requests, at the pace at which it answers them.
//!
//! On its own, actix-http (3.20, `h1/dispatcher.rs`) reads on while an answer cannot be written, takes any
//! number of small requests out of its buffer, wakes itself without end once the buffer is full, and limits
//! only the time of a connection's first head.
//!
//! So this stream reads nothing while an answer cannot be written, hands over at most two heads before
//! something is written, and reads no more of a body than its handler asks for. It limits how long a head may
//! take, and how long a connection may be unused. Without it, a client that does not read used a core and
//! 23 MB, and 27 bytes held a connection open without end. While a request is in flight, a reset is only the
//! end of the stream. A request that actix-http itself refuses is counted and logged when the answer is
//! written.

use super::{
    blank_lines::BlankLines,
    client_closed::ClientClosed,
    exchange::{Answered, Exchange},
    request_line::{HandOver, RequestLines},
    socket::Transport,
};
use bytes::{Buf, BytesMut};
use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// From the first byte of a head to its last.
    pub(super) head: Duration,
    /// From an answer to the first byte of the next head.
    pub(super) keep_alive: Duration,
    /// The same while there is [little room](super::admission::Slot::is_crowded) for other connections. Also how
    /// long the rest of a body may take that no handler reads.
    pub(super) keep_alive_crowded: Duration,
}

impl Pace {
    /// How often a waiting connection is looked at.
    fn step(self) -> Duration {
        self.head.min(self.keep_alive_crowded)
    }
}

/// How many blank lines are handed over before actix-http writes. Each head ends with one, and most bodies
/// have none. So actix-http has at most two requests that it has not begun, with 7 KB for each head.
const BLANK_LINES: u8 = 2;

/// The answer to a head that is not complete in time.
pub(super) const TOO_SLOW: &[u8] =
    b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// What a connection without a request in flight waits for, and since when.
#[derive(Debug, Clone, Copy)]
enum Wait {
    /// For the rest of a head, or for the connection's first head.
    Head(Instant),
    /// For the first byte of the next head.
    NextRequest(Instant),
    /// For nothing: what arrives is the rest of a body that its handler did not read, unless a head is
    /// complete.
    Nothing(Instant),
}

/// A client's stream.
///
/// While an answer is not written, nothing is read. While a request is in flight, only its body is read,
/// and a little more. If a client does not keep to its [`Pace`], it gets a 408 if it has begun a head, and
/// the stream ends. The stream must be polled by one task only.
#[derive(Debug)]
pub(super) struct PacedStream {
    transport: Transport,
    exchange: Rc<Exchange>,
    request_lines: RequestLines,
    blank_lines: BlankLines,
    /// How many blank lines may still be handed over before the next write.
    blank_lines_left: u8,
    /// What was read and is not handed over yet: what follows the last blank line that may be handed over,
    /// and an encoded request line.
    held: BytesMut,
    /// The client has not taken what was written.
    write_blocked: bool,
    /// Something was not read because reading was not allowed yet.
    read_postponed: bool,
    pace: Pace,
    wait: Wait,
    /// Ends when `wait` must be checked.
    clock: Pin<Box<Sleep>>,
    ended: bool,
    closed: ClientClosed,
}

impl PacedStream {
    /// The stream of a connection that has just been made.
    pub(super) fn new(transport: Transport, pace: Pace) -> Self {
        Self {
            transport,
            exchange: Rc::default(),
            request_lines: RequestLines::default(),
            blank_lines: BlankLines::default(),
            blank_lines_left: BLANK_LINES,
            held: BytesMut::new(),
            write_blocked: false,
            read_postponed: false,
            pace,
            wait: Wait::Head(Instant::now()),
            clock: Box::pin(sleep(pace.step())),
            ended: false,
            closed: ClientClosed::default(),
        }
    }

    /// Tells when the client has closed its side.
    pub(super) fn client_closed(&self) -> ClientClosed {
        self.closed.clone()
    }

    /// The request that the connection works on.
    pub(super) fn exchange(&self) -> Rc<Exchange> {
        Rc::clone(&self.exchange)
    }

    fn may_read(&self) -> bool {
        !self.write_blocked && self.blank_lines_left > 0 && self.exchange.may_read()
    }

    /// Until when the connection waits for what it waits for, as things are now.
    fn deadline(&self) -> Instant {
        match self.wait {
            Wait::Head(since) => since + self.pace.head,
            Wait::NextRequest(since) if !self.transport.slot().is_crowded() => since + self.pace.keep_alive,
            Wait::NextRequest(since) | Wait::Nothing(since) => since + self.pace.keep_alive_crowded,
        }
    }

    /// Ready when what the connection waits for has not arrived in time.
    ///
    /// A new deadline is never less than a step ahead, and the clock never runs longer than that: so it
    /// need not be reset for each request.
    fn poll_overdue(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.clock.as_mut().poll(context));
            let now = Instant::now();
            let step = now + self.pace.step();
            let next = if self.exchange.is_in_flight() {
                step
            } else {
                let deadline = self.deadline();
                if deadline <= now {
                    return Poll::Ready(());
                }
                deadline.min(step)
            };
            self.clock.as_mut().reset(next);
        }
    }

    /// Ends the stream for its reader.
    fn end(&mut self, context: &mut Context<'_>) {
        self.ended = true;
        if matches!(self.wait, Wait::Head(_)) {
            self.transport.slot().note_unread(408, &self.request_lines.path());
            // If the client cannot be told, the stream ends all the same.
            let _ = Pin::new(&mut self.transport).poll_write(context, TOO_SLOW);
        }
    }

    /// Notes that `count` bytes are handed over.
    fn hand_over(&mut self, count: usize) {
        self.exchange.note_read(count);
        if !self.exchange.is_in_flight() && matches!(self.wait, Wait::NextRequest(_)) {
            self.wait = Wait::Head(Instant::now());
        }
    }
}

/// The status of the refusal at the beginning of `bytes`, if there is one.
fn refusal(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    str::from_utf8(digits).ok()?.parse().ok().filter(|status| *status >= 400)
}

impl AsyncRead for PacedStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(Ok(()));
        }
        if !this.may_read() {
            this.read_postponed = true;
            if this.blank_lines_left == 0 && !this.write_blocked {
                // While actix-http ends a connection, it writes before it reads.
                context.waker().wake_by_ref();
            }
            return Poll::Pending;
        }
        while this.held.is_empty() {
            let start = buffer.filled().len();
            match Pin::new(&mut this.transport).poll_read(context, buffer) {
                Poll::Ready(Ok(())) => {}
                // With an error, actix-http would drop the handler. But the broker may store what the handler
                // publishes, and the handler must learn of that: or a repetition is taken for a new message.
                Poll::Ready(Err(_)) if this.exchange.is_in_flight() => {
                    this.ended = true;
                    this.closed.note();
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    ready!(this.poll_overdue(context));
                    this.end(context);
                    return Poll::Ready(Ok(()));
                }
            }
            let read = &buffer.filled()[start..];
            if read.is_empty() {
                this.held.extend_from_slice(&this.request_lines.take_rest());
                if this.held.is_empty() {
                    this.closed.note();
                    return Poll::Ready(Ok(()));
                }
                break;
            }
            if let HandOver::Instead(bytes) = this.request_lines.read(read) {
                this.held.extend_from_slice(&bytes);
                buffer.set_filled(start);
                this.hand_over(0);
                continue;
            }
            let count = this.blank_lines.cut(read, &mut this.blank_lines_left);
            this.held.extend_from_slice(&read[count..]);
            buffer.set_filled(start + count);
            if buffer.remaining() == 0 && this.blank_lines_left < BLANK_LINES {
                // It contains a head, and what follows may be long: its handler decides when to read on.
                this.blank_lines_left = 0;
            }
            this.hand_over(count);
            return Poll::Ready(Ok(()));
        }
        let held = &this.held[..this.held.len().min(buffer.remaining())];
        let count = this.blank_lines.cut(held, &mut this.blank_lines_left);
        buffer.put_slice(&held[..count]);
        this.held.advance(count);
        if this.held.is_empty() {
            this.held = BytesMut::new();
        }
        this.hand_over(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for PacedStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.transport).poll_write(context, bytes);
        this.write_blocked = written.is_pending();
        if this.exchange.is_idle()
            && matches!(written, Poll::Ready(Ok(_)))
            && let Some(status) = refusal(bytes)
        {
            this.transport.slot().note_unread(status, &this.request_lines.path());
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let flushed = Pin::new(&mut this.transport).poll_flush(context);
        this.write_blocked = flushed.is_pending();
        ready!(flushed)?;
        this.blank_lines_left = BLANK_LINES;
        if let Some(answered) = this.exchange.take_answered() {
            this.request_lines.answered(answered == Answered::Whole);
            let now = Instant::now();
            this.wait = match answered {
                Answered::Whole => Wait::NextRequest(now),
                Answered::BodyUnread => Wait::Nothing(now),
            };
        }
        if this.read_postponed && this.may_read() {
            this.read_postponed = false;
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().transport).poll_shutdown(context)
    }
}
