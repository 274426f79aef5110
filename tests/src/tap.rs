//! The application's side of the broker: it declares none of Postern's queues, reads them, and
//! publishes as an application would.

use crate::{vhost::Vhost, wait::eventually};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    options::{
        BasicAckOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions,
        QueuePurgeOptions,
    },
    types::{AMQPValue, FieldTable},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::Mutex;

/// AMQP properties of a published message; empty by default, as from a simple application.
pub type Properties = BasicProperties;

/// A message taken from a queue.
#[derive(Debug, Clone)]
pub struct Message {
    /// The body.
    pub body: Vec<u8>,
    /// The routing key.
    pub key: String,
    /// AMQP `content_type`.
    pub content_type: Option<String>,
    /// AMQP `delivery_mode`: 2 is persistent.
    pub delivery_mode: Option<u8>,
    /// AMQP `message_id`.
    pub message_id: Option<String>,
    /// AMQP `type`.
    pub kind: Option<String>,
    /// AMQP `headers`: texts, numbers and booleans; the name of the AMQP type for any other value.
    pub headers: BTreeMap<String, Value>,
}

impl Message {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e} in {:?}", String::from_utf8_lossy(&self.body)))
    }
}

/// A connection to a virtual host.
#[derive(Debug)]
pub struct Tap {
    url: String,
    _connection: Connection,
    channel: Channel,
    /// Used to look into queues. A look at a queue that does not exist costs the channel and now and then, when
    /// the closing of one channel crosses the opening of the next, the connection.
    looking: Mutex<Option<Connection>>,
    _vhost: Option<Vhost>,
}

impl Tap {
    /// Connects to the virtual host at `url`.
    pub async fn connect(url: &str) -> Self {
        let connection = connect(url).await.expect("connect to the broker");
        let channel = connection.create_channel().await.expect("open a channel");
        channel.confirm_select(ConfirmSelectOptions::default()).await.expect("ask for confirms");
        Self {
            url: url.to_owned(),
            _connection: connection,
            channel,
            looking: Mutex::default(),
            _vhost: None,
        }
    }

    /// Keeps `vhost` as long as this tap lives.
    pub(crate) fn keeping(self, vhost: Vhost) -> Self {
        Self { _vhost: Some(vhost), ..self }
    }

    /// Publishes a body and waits for the confirm.
    pub async fn publish(&self, exchange: &str, key: &str, body: &[u8], properties: Properties) {
        let options = BasicPublishOptions::default();
        let confirm = self.channel.basic_publish(exchange.into(), key.into(), options, body, properties);
        let confirm = confirm.await.expect("publish").await.expect("a confirm");
        assert!(confirm.is_ack(), "the broker refused: {confirm:?}");
    }

    /// Publishes to `postern.outbound` what a simple application would: JSON, no properties.
    pub async fn send(&self, message: &Value) {
        let backend = message["backend"].as_str().unwrap_or("nobody");
        self.publish("postern.outbound", backend, message.to_string().as_bytes(), Properties::default())
            .await;
    }

    /// Takes the next message of a queue; waits for the queue and the message.
    pub async fn take(&self, queue: &str) -> Message {
        eventually(&format!("a message in {queue}"), async || {
            self.next(queue).await?.ok_or("none".to_owned())
        })
        .await
    }

    /// Takes the next `count` messages of a queue, in order.
    pub async fn take_all(&self, queue: &str, count: usize) -> Vec<Message> {
        let mut messages = Vec::with_capacity(count);
        while messages.len() < count {
            messages.push(self.take(queue).await);
        }
        messages
    }

    /// The number of messages that wait in a queue.
    ///
    /// # Errors
    /// The broker's error, for example if the queue does not exist.
    pub async fn depth(&self, queue: &str) -> Result<u32, String> {
        let options = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
        // The broker closes a channel that asks for a queue that does not exist.
        let channel = self.look().await.map_err(|e| e.to_string())?;
        let told = channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        let told = told.map_err(|e| e.to_string())?;
        let _ = channel.close(200, "done".into()).await;
        Ok(told.message_count())
    }

    /// Waits until `count` messages wait in a queue.
    pub async fn depth_becomes(&self, queue: &str, count: u32) {
        eventually(&format!("{count} messages in {queue}"), async || match self.depth(queue).await {
            Ok(depth) if depth == count => Ok(()),
            seen => Err(format!("{seen:?}")),
        })
        .await;
    }

    /// Empties a queue.
    pub async fn purge(&self, queue: &str) {
        self.channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.expect("purge");
    }

    /// A new channel for one look.
    async fn look(&self) -> lapin::Result<Channel> {
        let mut looking = self.looking.lock().await;
        let connection = match looking.take_if(|connection| connection.status().connected()) {
            Some(connection) => connection,
            None => connect(&self.url).await?,
        };
        looking.insert(connection).create_channel().await
    }

    async fn next(&self, queue: &str) -> Result<Option<Message>, String> {
        let channel = self.look().await.map_err(|e| e.to_string())?;
        let got = channel.basic_get(queue.into(), BasicGetOptions::default()).await;
        let Some(got) = got.map_err(|e| e.to_string())? else {
            let _ = channel.close(200, "done".into()).await;
            return Ok(None);
        };
        let delivery = got.delivery;
        delivery.acker.ack(BasicAckOptions::default()).await.map_err(|e| e.to_string())?;
        // An acknowledgement has no answer. The close has one, and comes after it.
        channel.close(200, "done".into()).await.map_err(|e| e.to_string())?;
        Ok(Some(message(&delivery)))
    }
}

async fn connect(url: &str) -> lapin::Result<Connection> {
    Connection::connect(url, ConnectionProperties::default()).await
}

fn message(delivery: &lapin::message::Delivery) -> Message {
    let properties = &delivery.properties;
    let text = |value: &Option<lapin::types::ShortString>| value.as_ref().map(ToString::to_string);
    let headers = properties.headers().iter().flat_map(|table| table.inner());
    Message {
        body: delivery.data.clone(),
        key: delivery.routing_key.to_string(),
        content_type: text(properties.content_type()),
        delivery_mode: *properties.delivery_mode(),
        message_id: text(properties.message_id()),
        kind: text(properties.kind()),
        headers: headers.map(|(key, value)| (key.to_string(), header(value))).collect(),
    }
}

fn header(value: &AMQPValue) -> Value {
    match value {
        AMQPValue::Boolean(value) => json!(value),
        AMQPValue::ShortShortInt(value) => json!(value),
        AMQPValue::ShortShortUInt(value) => json!(value),
        AMQPValue::ShortInt(value) => json!(value),
        AMQPValue::ShortUInt(value) => json!(value),
        AMQPValue::LongInt(value) => json!(value),
        AMQPValue::LongUInt(value) => json!(value),
        AMQPValue::LongLongInt(value) => json!(value),
        AMQPValue::ShortString(value) => json!(value.as_str()),
        AMQPValue::LongString(value) => json!(String::from_utf8_lossy(value.as_bytes())),
        other => json!(format!("{:?}", other.get_type())),
    }
}
