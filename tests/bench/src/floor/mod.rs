//! The floors: the least code that does the same work with the same libraries and guarantees.

pub mod accept;
pub mod send;

use anyhow::Result;
use lapin::{
    Channel, Connection, ConnectionProperties, ExchangeKind,
    options::{ConfirmSelectOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable, ShortString},
};

/// The queue that the bare handler publishes to.
pub(crate) const ACCEPTED: &str = "floor.accepted";
/// The queue that the bare loop consumes.
pub(crate) const OUTBOUND: &str = "floor.outbound";
/// The queue that the bare loop reports to.
pub(crate) const REPORTS: &str = "floor.reports";

/// Ends this process when its standard input ends: that is a pipe from its parent, so it never outlives the
/// parent.
fn ends_with_its_input(ending: fn()) {
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        ending();
        #[expect(clippy::disallowed_methods, reason = "nothing of it needs an end")]
        std::process::exit(0);
    });
}

async fn connect(url: &str) -> Result<Connection> {
    Ok(Connection::connect(url, ConnectionProperties::default()).await?)
}

async fn confirming(connection: &Connection) -> Result<Channel> {
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    Ok(channel)
}

/// The exchange and key with which a floor publishes to one queue.
#[derive(Debug, Clone)]
struct Route {
    exchange: ShortString,
    key: ShortString,
}

impl Route {
    /// Declares `queue` and returns the route to it: through the default exchange, or, like Postern's queues,
    /// through a topic exchange of the same name that others may bind to.
    async fn to(channel: &Channel, queue: &str, by_topic: bool) -> Result<Self> {
        declare(channel, queue).await?;
        if !by_topic {
            return Ok(Self { exchange: "".into(), key: queue.into() });
        }
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let nothing = FieldTable::default();
        channel.exchange_declare(queue.into(), ExchangeKind::Topic, durable, nothing.clone()).await?;
        let options = QueueBindOptions::default();
        channel.queue_bind(queue.into(), queue.into(), "#".into(), options, nothing).await?;
        Ok(Self { exchange: queue.into(), key: "bench".into() })
    }
}

/// Declares a quorum queue like Postern's.
async fn declare(channel: &Channel, queue: &str) -> Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), durable, arguments).await?;
    Ok(())
}
