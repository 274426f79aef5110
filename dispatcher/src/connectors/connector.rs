//! The traits that a connector implements.

use super::context::ConnectorContext;
use crate::outcome::{Outcomes, Polled};
use async_trait::async_trait;
use postern_service::traces::Scope;
use postern_shared::{
    error::Failure,
    message::{Context, Identity, MessageId, Poll},
};
use std::{sync::Arc, time::Duration};

/// A validated configuration of one backend, ready to be started.
///
/// Every [`Backend`] is also a connector, which starts as its own sender. Another type implements this
/// trait to open connections, to receive, or to run tasks while the backend is served.
///
/// ```
/// use async_trait::async_trait;
/// use postern_dispatcher::connectors::{Backend, Connector, ConnectorContext, Outcomes, Sent};
/// use postern_shared::{error::Failure, message::{Context, Identity, MessageId}};
/// use std::sync::Arc;
/// use tokio::net::UdpSocket;
///
/// /// Sends each message as a datagram to one address.
/// struct Datagrams {
///     to: String,
/// }
///
/// #[async_trait]
/// impl Connector for Datagrams {
///     async fn start(self: Arc<Self>, context: ConnectorContext) -> Result<Arc<dyn Backend>, String> {
///         let socket = UdpSocket::bind("0.0.0.0:0").await.map_err(|error| error.to_string())?;
///         socket.connect(&self.to).await.map_err(|error| error.to_string())?;
///         context.health.bound();
///         Ok(Arc::new(Session { socket }))
///     }
/// }
///
/// /// The open socket of a started connector.
/// struct Session {
///     socket: UdpSocket,
/// }
///
/// #[async_trait]
/// impl Backend for Session {
///     async fn send(&self, _: MessageId, text: &str, identities: &[Identity], _: &Context) -> Outcomes {
///         let mut outcomes = Vec::new();
///         for identity in identities {
///             let sent = self.socket.send(format!("{} {text}", identity.as_str()).as_bytes()).await;
///             outcomes.push(match sent {
///                 Ok(_) => Ok(Sent::without_id()),
///                 Err(error) => Err(Failure::transient("down", error.to_string())),
///             });
///         }
///         outcomes.into_iter().collect()
///     }
/// }
/// ```
#[async_trait]
pub trait Connector: Send + Sync {
    /// Starts the connector and returns its sender, which is asked to [`stop`](Backend::stop) after its
    /// last call. Nothing is sent before the start succeeds. It should not wait for a connection that may
    /// take time: open the connection in a task and note its state in `context.health`.
    ///
    /// # Errors
    /// A text for an operator, without a secret. The backend's health shows it, the backend's messages wait
    /// in their queue, and the start is retried after a pause.
    async fn start(self: Arc<Self>, context: ConnectorContext) -> Result<Arc<dyn Backend>, String>;
}

#[async_trait]
impl<B: Backend + 'static> Connector for B {
    async fn start(self: Arc<Self>, _: ConnectorContext) -> Result<Arc<dyn Backend>, String> {
        Ok(self)
    }
}

/// Sends messages through one backend.
///
/// ```
/// use async_trait::async_trait;
/// use postern_dispatcher::connectors::{Backend, Outcomes, Sent};
/// use postern_shared::{error::Failure, message::{Context, Identity, MessageId}};
///
/// struct Pigeon;
///
/// #[async_trait]
/// impl Backend for Pigeon {
///     async fn send(&self, id: MessageId, _: &str, identities: &[Identity], _: &Context) -> Outcomes {
///         let fly = |identity: &Identity| match identity.as_str().strip_prefix("loft-") {
///             Some(loft) => Ok(Sent::with_id(format!("{id}/{loft}"))),
///             None => Err(Failure::permanent("no_loft", "no pigeon knows the way")),
///         };
///         identities.iter().map(fly).collect()
///     }
/// }
/// ```
#[async_trait]
pub trait Backend: Send + Sync {
    /// Sends `text` to each of `identities` (at least one, in the application's order, including
    /// duplicates), and returns what became of it for each.
    ///
    /// It must not block its thread. A panic, and a call that outlasts [`deadline`](Self::deadline), count
    /// as an `unknown` failure for all of `identities`, with the codes `panic` and `timeout`. So a sender
    /// that has sent to some of them should answer in time.
    ///
    /// Failures for which [`Failure::says_down`](postern_shared::error::Failure::says_down),
    /// [`was_not_accepted`](postern_shared::error::Failure::was_not_accepted) or
    /// [`had_no_outcome`](postern_shared::error::Failure::had_no_outcome) holds count for the backend's
    /// circuit breaker. Those of class `throttled`, or with a `retry_after`, pause the backend.
    async fn send(&self, id: MessageId, text: &str, identities: &[Identity], context: &Context) -> Outcomes;

    /// Sends like [`send`](Self::send); `scope` is the place in the message's trace at which it is sent. A
    /// backend that makes requests overrides this function, to make a span of each request
    /// ([`Scope::client`]) and to pass the trace to its provider. By default it calls [`send`](Self::send).
    async fn send_within(
        &self,
        scope: &Scope,
        id: MessageId,
        text: &str,
        identities: &[Identity],
        context: &Context,
    ) -> Outcomes {
        let _ = scope;
        self.send(id, text, identities, context).await
    }

    /// Asks the provider what became of a message that it accepted; `scope` is the place in the message's
    /// trace. Only called for a backend with a `poll` table. By default it fails with the code `no_poll`.
    ///
    /// # Errors
    /// There was no answer, or it said nothing about this message. It is asked again later.
    async fn poll(&self, scope: &Scope, poll: &Poll) -> Result<Polled, Failure> {
        let _ = (scope, poll);
        Err(Failure::config("no_poll", "this kind of connector does not poll its provider"))
    }

    /// The most identities of one call. By default a call has all of a message's identities. If the backend
    /// has a rate, the default is one, or as many as its `send` table has in one request.
    fn recipients_per_request(&self) -> Option<usize> {
        None
    }

    /// How long one call for this many identities may take; by default a minute. A call must end within 25
    /// minutes after its message was taken: after 30, RabbitMQ hands the message to another consumer.
    fn deadline(&self, identities: usize) -> Duration {
        let _ = identities;
        Duration::from_secs(60)
    }

    /// Ends what [`Connector::start`] began, after the last call of [`send`](Self::send): closes
    /// connections, waits for tasks. It is dropped unfinished at the deadline of the drain, but never
    /// before it has had a second. By default there is nothing to end.
    async fn stop(&self) {}
}
