//! A bare loop: consume, POST with reqwest, publish a report to a quorum queue, wait for its confirm,
//! acknowledge. It parses only what the request needs, and checks, retries, counts and logs nothing.
//! `concurrency` tasks each handle one message after the other; twice as many messages are prefetched. A task
//! always publishes on the same one of the channels.

use super::{OUTBOUND, REPORTS, Route, confirming, connect, declare, ends_with_its_input};
use anyhow::{Context, Result};
use clap::Args;
use futures_util::StreamExt;
use lapin::{
    BasicProperties, Channel,
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions},
    types::FieldTable,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinSet,
};

/// The arguments of the loop.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The broker
    #[arg(long)]
    amqp: String,
    /// Where to send
    #[arg(long)]
    provider: String,
    /// Sends in flight
    #[arg(long, default_value_t = 64)]
    concurrency: u16,
    /// Channels to publish on
    #[arg(long, default_value_t = 1)]
    channels: usize,
    /// Publish reports to a topic exchange that leads to their queue
    #[arg(long)]
    by_topic: bool,
}

#[derive(Debug, Deserialize)]
struct Message {
    id: String,
    identities: Vec<String>,
    text: String,
}

#[derive(Debug, Serialize)]
struct Form<'a> {
    to: &'a str,
    text: &'a str,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    message_id: &'a str,
    identity: &'a str,
    state: &'static str,
    at: jiff::Timestamp,
}

/// Sends until its standard input ends, and then calls `ending`.
///
/// # Errors
/// If a message could not be sent or reported.
pub async fn main(arguments: Arguments, ending: fn()) -> Result<()> {
    ends_with_its_input(ending);
    let (publishing, consuming) = (connect(&arguments.amqp).await?, connect(&arguments.amqp).await?);
    let channel = consuming.create_channel().await?;
    declare(&channel, OUTBOUND).await?;
    let route = Route::to(&channel, REPORTS, arguments.by_topic).await?;
    channel.basic_qos(arguments.concurrency * 2, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let table = FieldTable::default();
    let mut consumer = channel.basic_consume(OUTBOUND.into(), "floor".into(), options, table).await?;
    let (give, take) = mpsc::channel::<Delivery>(usize::from(arguments.concurrency));
    let take = Arc::new(Mutex::new(take));
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(no_tls()?)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let mut channels = Vec::new();
    for _ in 0..arguments.channels.max(1) {
        channels.push(confirming(&publishing).await?);
    }
    println!("ready");
    let mut tasks = JoinSet::new();
    for (_, reports) in (0..arguments.concurrency).zip(channels.iter().cycle()) {
        let (take, client, reports) = (take.clone(), client.clone(), reports.clone());
        let (provider, route) = (arguments.provider.clone(), route.clone());
        tasks.spawn(async move {
            loop {
                let next = take.lock().await.recv().await;
                let Some(delivery) = next else { return Ok(()) };
                send(&client, &provider, (&reports, &route), delivery).await?;
            }
        });
    }
    loop {
        tokio::select! {
            delivery = consumer.next() => {
                give.send(delivery.context("the consumer ended")??).await?;
            }
            ended = tasks.join_next() => return ended.context("no task")??,
        }
    }
}

async fn send(
    client: &reqwest::Client,
    provider: &str,
    (reports, route): (&Channel, &Route),
    delivery: Delivery,
) -> Result<()> {
    let message: Message = serde_json::from_slice(&delivery.data)?;
    let to = message.identities.first().context("an identity")?;
    let answer = client.post(provider).form(&Form { to, text: &message.text }).send().await?;
    anyhow::ensure!(answer.status().is_success(), "the provider answered {}", answer.status());
    answer.bytes().await?;
    let report = Report { message_id: &message.id, identity: to, state: "sent", at: jiff::Timestamp::now() };
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        .with_message_id(message.id.as_str().into());
    let body = serde_json::to_vec(&report)?;
    let options = BasicPublishOptions::default();
    let Route { exchange, key } = route.clone();
    let confirm = reports.basic_publish(exchange, key, options, &body, properties).await?;
    anyhow::ensure!(confirm.await?.is_ack(), "refused");
    delivery.ack(BasicAckOptions::default()).await?;
    Ok(())
}

/// The client has no TLS provider of its own, and plain connections need none.
fn no_tls() -> Result<rustls::ClientConfig> {
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(ring).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}
