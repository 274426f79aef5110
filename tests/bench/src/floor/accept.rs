//! A bare actix handler: a form becomes JSON and one persistent message to a quorum queue, and the 200 waits for
//! its confirm. Two fields are parsed, and nothing is checked, counted or logged. It has one connection, and one
//! channel for each of actix's threads.

use super::{ACCEPTED, Route, confirming, connect, ends_with_its_input};
use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::{Context, Result};
use clap::Args;
use lapin::{BasicProperties, Channel, options::BasicPublishOptions};
use serde::{Deserialize, Serialize};
use std::sync::{Mutex, PoisonError};

/// The arguments of the handler.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The broker
    #[arg(long)]
    amqp: String,
    /// The port of 127.0.0.1
    #[arg(long)]
    port: u16,
    /// Connections to the broker; the threads share them
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Publish to a topic exchange that leads to the queue
    #[arg(long)]
    by_topic: bool,
}

#[derive(Debug, Deserialize, Serialize)]
struct Form {
    identity: String,
    text: String,
}

/// As many fields as Postern's message for the same form.
#[derive(Debug, Serialize)]
struct Message {
    id: uuid::Uuid,
    backend: &'static str,
    #[serde(flatten)]
    form: Form,
    received_at: jiff::Timestamp,
}

async fn accept(form: web::Form<Form>, channel: web::Data<Channel>, route: web::Data<Route>) -> HttpResponse {
    let message = Message {
        id: uuid::Uuid::now_v7(),
        backend: "bench",
        form: form.into_inner(),
        received_at: jiff::Timestamp::now(),
    };
    match publish(&channel, &route, &message).await {
        Ok(()) => HttpResponse::Ok().body("OK"),
        Err(error) => HttpResponse::ServiceUnavailable().body(error.to_string()),
    }
}

async fn publish(channel: &Channel, route: &Route, message: &Message) -> Result<()> {
    let properties = BasicProperties::default()
        .with_delivery_mode(2)
        .with_content_type("application/json".into())
        .with_message_id(message.id.to_string().into());
    let body = serde_json::to_vec(message)?;
    let options = BasicPublishOptions::default();
    let Route { exchange, key } = route.clone();
    let confirm = channel.basic_publish(exchange, key, options, &body, properties).await?;
    anyhow::ensure!(confirm.await?.is_ack(), "refused");
    Ok(())
}

/// Serves until its standard input ends, and then calls `ending`.
///
/// # Errors
/// If it cannot reach the broker or listen.
pub fn main(arguments: &Arguments, ending: fn()) -> Result<()> {
    ends_with_its_input(ending);
    actix_web::rt::System::new().block_on(async {
        let threads = std::thread::available_parallelism()?.get();
        let mut connections = Vec::new();
        for _ in 0..arguments.connections.max(1) {
            connections.push(connect(&arguments.amqp).await?);
        }
        let first = connections.first().context("a connection")?;
        let route = Route::to(&first.create_channel().await?, ACCEPTED, arguments.by_topic).await?;
        let route = web::Data::new(route);
        let mut channels = Vec::new();
        for (_, connection) in (0..threads).zip(connections.iter().cycle()) {
            channels.push(web::Data::new(confirming(connection).await?));
        }
        let unused = std::sync::Arc::new(Mutex::new(channels.clone().into_iter().cycle()));
        let server = HttpServer::new(move || {
            let next = unused.lock().unwrap_or_else(PoisonError::into_inner).next();
            let app = App::new().app_data(route.clone()).route("/", web::post().to(accept));
            next.into_iter().fold(app, App::app_data)
        });
        let server = server.workers(threads).tcp_nodelay(true).bind(("127.0.0.1", arguments.port))?;
        println!("ready");
        Ok(server.run().await?)
    })
}
