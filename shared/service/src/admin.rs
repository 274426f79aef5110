//! The admin port: `/metrics`, `/livez`, `/readyz`, `/v1/dead` ([`dead`]), commands to backends and queues
//! ([`commands`]), and [`reload`].
//!
//! `/livez` and `/readyz` are open. `/metrics` is wrapped in `guard::token_holders`, which requires
//! `admin.token`; an address may show ten wrong tokens, and one more each second. Without a token, every
//! program refuses to listen on any address but loopback. Everything below `/v1` is wrapped in
//! `guard::operators`, which without a token also requires that the client calls this machine directly:
//! these paths show what people wrote, and change what is sent.

mod answer;
pub mod commands;
pub mod dead;
mod guard;
mod metrics;
pub mod reload;

use crate::{
    configured::Configured,
    control::{Control, Operator, Unconfigured},
    current::Current,
    dead::DeadLetters,
    health::{BackendHealth, HealthRegistry},
    heartbeat::Heartbeats,
    listener::{self, ConnectionLimits, Listener, Share},
    message_log::OpenLog,
    metrics::{Metrics, PublishMetrics},
    reload::ReloadClient,
    shutdown::Shutdown,
    tls::Tls,
};
use actix_web::{
    App, FromRequest, Handler, HttpResponse, Resource, dev::Server, http::StatusCode, middleware::from_fn,
    web,
};
use answer::text;
use guard::{TokenGuard, token_holders};
use metrics::AdminMetrics;
use postern_broker::{Broker, BrokerStatus};
use postern_shared::value::{Networks, SecretDigest};
use postern_store::{embedded::EmbeddedBroker, spool::Spool};
use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// The most connections that the port may have.
const CONNECTIONS: usize = 64;

/// How long the head of a request may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// What `/readyz` checks.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// Whether every part of the process has begun its work.
    pub started: Arc<AtomicBool>,
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// The embedded broker, if it records what happens to messages.
    pub recording: Option<Arc<EmbeddedBroker>>,
    /// The spool in front of the broker, once it is open; empty if there is none.
    pub spool: Arc<OnceLock<Arc<Spool>>>,
    /// Whether the process drains.
    pub shutdown: Shutdown,
    /// Which backends send. A backend that does not is named in the answer and does not change the status:
    /// the process is ready for all the others.
    pub health: HealthRegistry,
    /// The outcomes that the broker refused.
    pub publish: PublishMetrics,
    /// What operators have commanded.
    pub control: Control,
    /// The current configuration.
    pub configured: Current<Configured>,
    /// What waits for backends that are not configured.
    pub unconfigured: Unconfigured,
    /// The message log, if there is one.
    pub log: Option<OpenLog>,
}

impl Readiness {
    /// What is missing, one line for each; none if the process is ready.
    pub fn missing(&self) -> Vec<String> {
        let draining = self.shutdown.is_draining().then(|| "draining: this process is stopping".to_owned());
        let starting = (!self.started.load(Ordering::Relaxed)).then(|| "starting".to_owned());
        let broker = self.status().problem().map(|why| format!("broker {why}"));
        draining.into_iter().chain(starting).chain(broker).collect()
    }

    /// What an operator should know although the process is ready, one line for each.
    pub fn remarks(&self) -> Vec<String> {
        let spooling = match self.status() {
            BrokerStatus::Spooling(why) => Some(why),
            _ => None,
        };
        let broker = self.broker.remarks().into_iter();
        let remarks = spooling.into_iter().chain(broker).chain(self.publish.remark());
        let log = self.log.as_ref().and_then(OpenLog::problem);
        let log = log.map(|why| format!("message log unavailable: {why}"));
        remarks.chain(self.control.remark()).chain(self.unconfigured.remarks()).chain(log).collect()
    }

    /// The backends that do not send now, one line for each, and the application's webhook if it accepts
    /// nothing.
    pub fn paused(&self) -> Vec<String> {
        self.not_sending(ToString::to_string)
    }

    /// [`Self::paused`] with each health in the words of `said`.
    pub(crate) fn not_sending(&self, said: fn(&BackendHealth) -> String) -> Vec<String> {
        let line = |(backend, health)| format!("backend {backend} {}", said(&health));
        let application = self.health.application().filter(|health| *health != BackendHealth::Ready);
        let application = application.map(|health| format!("application webhook {}", said(&health)));
        self.health.not_ready().into_iter().map(line).chain(application).collect()
    }

    /// Whether messages can be published, to the spool if there is one.
    fn status(&self) -> BrokerStatus {
        match self.spool.get() {
            Some(spool) => spool.status().borrow().clone(),
            None => self.broker.status().borrow().clone(),
        }
    }
}

/// Listens on `address`, which the key `key` sets. Must be called within a Tokio runtime.
///
/// # Errors
/// A text that names the key, the address, the reason and what to do.
pub fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, String> {
    let instead = if key == "admin.listen" { ", or give --admin-listen ADDRESS" } else { "" };
    listener::bind(address).map_err(|error| listener::cannot_listen(key, address, &error, instead))
}

/// Listens on `address`, or if another program uses its port, on the first free one of the `spare` ports
/// above it. Must be called within a Tokio runtime.
///
/// # Errors
/// The same text as for [`bind`].
pub fn bind_first(address: SocketAddr, spare: u16) -> Result<TcpListener, String> {
    let ports = (1..=spare).filter_map(|more| address.port().checked_add(more));
    for port in std::iter::once(address.port()).chain(ports) {
        match listener::bind(SocketAddr::new(address.ip(), port)) {
            Ok(listener) if port == address.port() => return Ok(listener),
            Ok(listener) => {
                tracing::warn!(taken = %address, port, "the admin port is in use, using the next free one");
                return Ok(listener);
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(_) => break,
        }
    }
    bind("admin.listen", address)
}

/// What the admin port serves, and how.
#[derive(Debug)]
pub struct AdminPort {
    /// The metrics that `/metrics` shows.
    pub metrics: Metrics,
    /// What `/readyz` checks.
    pub readiness: Readiness,
    /// The dead letters that `/v1/dead` works on.
    pub letters: DeadLetters,
    /// Carries out operators' commands.
    pub operator: Arc<Operator>,
    /// Asks for a reload of the configuration.
    pub reload: ReloadClient,
    /// The token that `guard` requires, if there is one.
    pub token: Option<SecretDigest>,
    /// The port's TLS, if it has any.
    pub tls: Option<Tls>,
    /// Where the port's thread reports that it is alive.
    pub heartbeats: Heartbeats,
}

/// The server of the admin port, to be awaited or spawned. It serves until the process ends, so that a
/// drain can be watched. Must be called within a Tokio runtime.
///
/// # Errors
/// The listener cannot be used, or this process has an admin port already.
pub fn serve(listener: TcpListener, port: AdminPort) -> std::io::Result<Server> {
    let AdminPort { metrics, readiness, letters, operator, reload, token, tls, heartbeats } = port;
    let own = AdminMetrics::declare(&metrics).and_then(|own| match &readiness.recording {
        Some(_) => own.recording(&metrics),
        None => Ok(own),
    });
    let own = own.map_err(std::io::Error::other)?;
    let letters = web::Data::new(letters);
    let operator = web::Data::from(operator);
    let reload = web::Data::new(reload);
    let guard = web::Data::new(TokenGuard::new(token));
    let listener = Listener {
        name: "admin",
        socket: listener,
        tls,
        connections: ConnectionLimits {
            max: Some(CONNECTIONS),
            share: Share::Whole,
            per_address: None,
            exempt: Networks::default(),
        },
        read_timeout: READ_TIMEOUT,
        workers: 1,
        drain: Duration::ZERO,
        heartbeats,
    };
    let connections = metrics.clone();
    listener.serve(&connections, move || {
        App::new()
            .app_data(letters.clone())
            .app_data(operator.clone())
            .app_data(reload.clone())
            .app_data(web::Data::new(metrics.clone()))
            .app_data(web::Data::new(own.clone()))
            .app_data(web::Data::new(readiness.clone()))
            .app_data(guard.clone())
            .service(
                web::resource("/metrics").wrap(from_fn(token_holders)).route(web::get().to(metrics_text)),
            )
            .service(dead::scope())
            .service(commands::backends())
            .service(commands::queues())
            .service(reload::route())
            .service(health("/livez", async || text(StatusCode::OK, "ok\n".to_owned())))
            .service(health("/readyz", ready))
    })
}

async fn metrics_text(
    metrics: web::Data<Metrics>,
    own: web::Data<AdminMetrics>,
    readiness: web::Data<Readiness>,
) -> HttpResponse {
    own.broker(&readiness.broker.status().borrow());
    if let Some(broker) = &readiness.recording {
        own.recorded(broker.recorded_events());
    }
    if let Some(spool) = readiness.spool.get() {
        own.spool(&spool.figures());
    }
    own.backends(&readiness.health.all());
    own.application(readiness.health.application());
    own.unconfigured(&readiness.unconfigured.all());
    own.paused(readiness.configured.get().backends(), &readiness.control.state());
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(metrics.text())
}

/// A path that load balancers and orchestrators ask, some of them with HEAD.
fn health<Answering, Args>(path: &str, answer: Answering) -> Resource
where
    Answering: Handler<Args, Output = HttpResponse>,
    Args: FromRequest + 'static,
{
    web::resource(path).route(web::get().to(answer.clone())).route(web::head().to(answer))
}

async fn ready(readiness: web::Data<Readiness>) -> HttpResponse {
    let lines = |lines: Vec<String>| lines.into_iter().map(|line| line + "\n").collect::<String>();
    let paused = lines(readiness.paused());
    match lines(readiness.missing()) {
        missing if missing.is_empty() => {
            text(StatusCode::OK, format!("ready\n{}{paused}", lines(readiness.remarks())))
        }
        missing => text(StatusCode::SERVICE_UNAVAILABLE, format!("{missing}{paused}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_gives_way_to_the_next_or_names_the_argument() {
        let taken = bind("admin.listen", "127.0.0.1:0".parse().unwrap()).unwrap();
        let address = taken.local_addr().unwrap();
        let next = bind_first(address, 64).unwrap().local_addr().unwrap();
        assert!(next.ip() == address.ip() && next.port() > address.port(), "{next}");
        for refused in [bind_first(address, 0), bind("--admin-listen", address)] {
            let why = refused.unwrap_err();
            assert!(
                why.contains(&address.to_string())
                    && why.contains("another program uses this port")
                    && why.contains("--admin-listen"),
                "{why}"
            );
        }
    }
}
