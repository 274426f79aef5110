//! The floors: the least code that does the same work, with the same libraries and guarantees.

pub mod accept;
pub mod send;

use anyhow::Result;
use lapin::{
    Channel, Connection, ConnectionProperties,
    options::{ConfirmSelectOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

/// What the bare handler publishes to.
pub(crate) const ACCEPTED: &str = "floor.accepted";
/// What the bare loop consumes.
pub(crate) const OUTBOUND: &str = "floor.outbound";
/// What the bare loop reports to.
pub(crate) const REPORTS: &str = "floor.reports";

/// A pipe from whoever started it: it does not outlive that one, however that one ends.
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

/// A quorum queue, as Postern's are.
async fn declare(channel: &Channel, queue: &str) -> Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(queue.into(), durable, arguments).await?;
    Ok(())
}
