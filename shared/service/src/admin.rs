//! The admin port: `/metrics`, `/livez`, `/readyz`, `/v1/dead` ([`dead`]), orders to backends and queues
//! ([`orders`]), and [`reload`].
//!
//! `/livez` and `/readyz` are open. Everything else is wrapped in [`token_holders`], which asks for
//! `admin.token` and lets an address show ten wrong ones, and one more each second. Without a token every
//! program refuses to listen anywhere but on loopback.

pub mod dead;
mod metrics;
pub mod orders;
pub mod reload;

use crate::{
    bearer::bearer,
    configured::Configured,
    control::{Control, Operator, Unconfigured},
    current::Current,
    dead::DeadLetters,
    health::{BackendHealth, HealthRegistry},
    heartbeat::Heartbeats,
    listener::{self, ConnectionLimits, Listener, Share},
    message_log::OpenLog,
    metrics::{Metrics, PublishMetrics},
    rates::{self, Allowance, Buckets, retry_after},
    reload::ReloadClient,
    shutdown::Shutdown,
    telemetry::LineLimit,
    tls::Tls,
};
use actix_web::{
    App, Error, HttpResponse,
    body::MessageBody,
    dev::{Server, ServiceRequest, ServiceResponse},
    http::{
        StatusCode,
        header::{ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    middleware::{Next, from_fn},
    web,
};
use metrics::AdminMetrics;
use postern_broker::{Broker, BrokerStatus};
use postern_shared::value::{Networks, SecretDigest};
use postern_store::{embedded::EmbeddedBroker, spool::Spool};
use std::{
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};
use tracing::Level;

/// How many connections the port may have.
const CONNECTIONS: usize = 64;

/// How long the head of a request may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How many wrong tokens one address may show: ten, and one more each second.
const WRONG_TOKENS: Allowance = Allowance::new(Duration::from_secs(1), 10);

/// What `/readyz` looks at.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// Whether every part of the process has begun its work.
    pub started: Arc<AtomicBool>,
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// The embedded broker, if it records what happens to messages.
    pub recording: Option<Arc<EmbeddedBroker>>,
    /// The spool in front of it, once it is open, where there is one.
    pub spool: Arc<OnceLock<Arc<Spool>>>,
    /// Whether the process drains.
    pub shutdown: Shutdown,
    /// Which backends send. One that does not stands in the answer and does not change its status: the
    /// process is ready for all the others.
    pub health: HealthRegistry,
    /// Which outcomes the broker refused.
    pub publish: PublishMetrics,
    /// What operators ordered.
    pub control: Control,
    /// The configuration that holds.
    pub configured: Current<Configured>,
    /// What waits for backends that are not.
    pub unconfigured: Unconfigured,
    /// The message log, if there is one.
    pub log: Option<OpenLog>,
}

impl Readiness {
    /// What is missing, a line each; none when the process is ready.
    pub fn missing(&self) -> Vec<String> {
        let draining = self.shutdown.is_draining().then(|| "draining: this process is stopping".to_owned());
        let starting = (!self.started.load(Ordering::Relaxed)).then(|| "starting".to_owned());
        let broker = self.status().problem().map(|why| format!("broker {why}"));
        draining.into_iter().chain(starting).chain(broker).collect()
    }

    /// What an operator should know although the process is ready, a line each.
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

    /// The backends that do not send now, a line each, and the application's webhook if it takes nothing.
    pub fn paused(&self) -> Vec<String> {
        self.not_sending(ToString::to_string)
    }

    /// As [`Self::paused`], with the health in the words of `said`.
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

/// Listens on `address`, which `key` names. Within a Tokio runtime.
///
/// # Errors
/// A text that names the key, the address, what stands in its way and what to do.
pub fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, String> {
    let instead = if key == "admin.listen" { ", or give --admin-listen ADDRESS" } else { "" };
    listener::bind(address).map_err(|error| listener::cannot_listen(key, address, &error, instead))
}

/// As [`bind`], or on the first free one of the `spare` ports behind `address` if another program has
/// that. Within a Tokio runtime.
///
/// # Errors
/// As [`bind`].
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

/// Who holds `admin.token`; without one, everybody does: the port is on a loopback address.
#[derive(Debug)]
struct TokenGuard {
    token: Option<SecretDigest>,
    /// Of the addresses that have shown a wrong one.
    wrong: Buckets<IpAddr>,
    lines: LineLimit,
}

impl TokenGuard {
    fn new(token: Option<SecretDigest>) -> Self {
        Self {
            token,
            wrong: Buckets::default(),
            lines: LineLimit::new("requests without admin.token", Level::WARN),
        }
    }

    /// The answer to a `request` that does not show the token, or whose address has shown too many
    /// wrong ones; `None` lets it in. Without a token, what a web page sends (by the header `Origin`) is
    /// kept out: a browser on this machine visits pages of anybody.
    fn refusal(&self, request: &ServiceRequest) -> Option<HttpResponse> {
        let Some(token) = self.token else {
            let from_a_page = request.headers().contains_key(ORIGIN);
            let why = "requests from web pages are not accepted without admin.token\n";
            return from_a_page.then(|| HttpResponse::Forbidden().body(why));
        };
        let client = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let bucket = rates::client(client);
        // Taken before the token is compared, so that guesses at the same moment count, too.
        let refusal = match self.wrong.take(bucket, WRONG_TOKENS, Instant::now()) {
            Err(wait) => HttpResponse::TooManyRequests()
                .insert_header((RETRY_AFTER, retry_after(wait)))
                .body("too many requests without the admin token; try again later\n"),
            Ok(()) if bearer(request.headers()).is_some_and(|given| token.matches(given)) => {
                self.wrong.give_back(&bucket, WRONG_TOKENS);
                return None;
            }
            Ok(()) => HttpResponse::Unauthorized()
                .insert_header((WWW_AUTHENTICATE, "Bearer"))
                .body("the admin token is required: Authorization: Bearer TOKEN\n"),
        };
        if self.lines.admits(refusal.status().as_u16()) {
            tracing::warn!(%client, "admin port: request without a valid admin.token refused");
        }
        Some(refusal)
    }
}

/// The middleware around what only a holder of `admin.token` may see or do. Anyone else gets 401, and
/// 429 after too many attempts from one address.
///
/// # Errors
/// Those of the service that it stands around.
pub async fn token_holders(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let refusal = match request.app_data::<web::Data<TokenGuard>>() {
        Some(guard) => guard.refusal(&request),
        None => Some(HttpResponse::Unauthorized().finish()),
    };
    let Some(refusal) = refusal else { return Ok(next.call(request).await?.map_into_boxed_body()) };
    if let Some(metrics) = request.app_data::<web::Data<AdminMetrics>>() {
        metrics.refused.inc();
    }
    Ok(request.into_response(refusal))
}

/// What the admin port serves.
#[derive(Debug)]
pub struct AdminPort {
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// What `/readyz` looks at.
    pub readiness: Readiness,
    /// What `/v1/dead` works on.
    pub letters: DeadLetters,
    /// Who carries out orders.
    pub operator: Arc<Operator>,
    /// Who has the configuration read anew.
    pub reload: ReloadClient,
    /// What [`token_holders`] asks for.
    pub token: Option<SecretDigest>,
    /// Its TLS, if it has any.
    pub tls: Option<Tls>,
    /// Where its thread says that it is alive.
    pub heartbeats: Heartbeats,
}

/// The server of the admin port; to be awaited or spawned. It serves until the process ends, so
/// that a drain can be watched. Within a Tokio runtime.
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
        let dead = |routes: &mut web::ServiceConfig| {
            if token.is_some() {
                routes.service(dead::scope());
            }
        };
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
            .configure(dead)
            .service(orders::backends())
            .service(orders::queues())
            .service(reload::route())
            .route("/livez", web::get().to(async || HttpResponse::Ok().body("ok\n")))
            .route("/readyz", web::get().to(ready))
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

async fn ready(readiness: web::Data<Readiness>) -> HttpResponse {
    let text = |lines: Vec<String>| lines.into_iter().map(|line| line + "\n").collect::<String>();
    let paused = text(readiness.paused());
    match text(readiness.missing()) {
        missing if missing.is_empty() => {
            HttpResponse::Ok().body(format!("ready\n{}{paused}", text(readiness.remarks())))
        }
        missing => HttpResponse::ServiceUnavailable().body(format!("{missing}{paused}")),
    }
}

/// An RFC 9457 problem document.
fn problem(status: u16, detail: &str) -> HttpResponse {
    problem_with(status, detail, None)
}

/// The same with one more member.
fn problem_with(status: u16, detail: &str, more: Option<(&str, serde_json::Value)>) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or_default();
    let title = status.canonical_reason().unwrap_or_default();
    let mut body = serde_json::json!({"type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail});
    if let Some((name, value)) = more {
        body[name] = value;
    }
    HttpResponse::build(status).content_type("application/problem+json").body(body.to_string())
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
