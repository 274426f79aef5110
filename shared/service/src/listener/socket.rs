//! The socket of a client, with or without TLS. It ends a connection whose client reads nothing of what is
//! written to it.

use super::admission::Slot;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};
use tokio_rustls::server::TlsStream;

/// The TCP connection of a client that was admitted.
#[derive(Debug)]
pub(super) struct ClientSocket {
    // The first field, so that it is closed before its slot is free for another connection.
    stream: TcpStream,
    slot: Slot,
    stall_time: Duration,
    /// Runs while the client reads nothing of what is written.
    stall: Option<Pin<Box<Sleep>>>,
}

impl ClientSocket {
    /// The socket of a client that may read nothing of what is written to it for `stall_time`.
    pub(super) fn new(stream: TcpStream, slot: Slot, stall_time: Duration) -> Self {
        Self { stream, slot, stall_time, stall: None }
    }

    /// The result of a write that returned `written`: an error if the client has read nothing for too long.
    fn watch<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(self.stall_time)));
        ready!(stall.as_mut().poll(context));
        // The kernel must not keep what is unsent either.
        let _ = self.stream.set_zero_linger();
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing")))
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watch(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.watch(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

/// The stream that a client's bytes come through.
#[derive(Debug)]
pub(super) enum Transport {
    Plain(ClientSocket),
    Tls(Box<TlsStream<ClientSocket>>),
}

impl Transport {
    /// The connection's place among the connections of its listener.
    pub(super) fn slot(&self) -> &Slot {
        match self {
            Self::Plain(socket) => &socket.slot,
            Self::Tls(stream) => &stream.get_ref().0.slot,
        }
    }
}

/// Calls a method of the stream in either variant.
macro_rules! either {
    ($transport:expr, $method:ident $(, $argument:expr)*) => {
        match $transport.get_mut() {
            Transport::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Transport::Tls(stream) => Pin::new(stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Transport {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, poll_read, context, buffer)
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self, poll_write, context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_flush, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, poll_shutdown, context)
    }
}
