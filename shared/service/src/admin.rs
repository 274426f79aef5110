//! The admin port: `/metrics`, `/livez`, `/readyz`, and `/v1/dead` ([`dead`]). Whatever says or does
//! more than health is wrapped in [`token_holders`].

pub mod dead;
mod metrics;

use crate::{
    bearer::bearer, dead::DeadLetters, health::HealthRegistry, metrics::Metrics, shutdown::Shutdown, tls::Tls,
};
use actix_web::{
    App, Error, HttpResponse, HttpServer,
    body::MessageBody,
    dev::{Server, ServiceRequest, ServiceResponse},
    http::header::WWW_AUTHENTICATE,
    middleware::{Next, from_fn},
    web,
};
use metrics::AdminMetrics;
use postern_broker::{Broker, BrokerStatus};
use postern_shared::value::SecretDigest;
use postern_store::spool::Spool;
use std::{
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// How long `/metrics` waits for what the broker says.
const ASKING: Duration = Duration::from_secs(1);

/// What `/readyz` looks at.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// Whether every part of the process has begun its work.
    pub started: Arc<AtomicBool>,
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// The spool in front of it, once it is open, where there is one.
    pub spool: Arc<OnceLock<Arc<Spool>>>,
    /// Whether the process drains.
    pub shutdown: Shutdown,
    /// Which backends send. One that does not stands in the answer and does not change its status: the
    /// process is ready for all the others.
    pub health: HealthRegistry,
}

impl Readiness {
    /// What is missing, a line each; none when the process is ready.
    pub fn missing(&self) -> Vec<String> {
        let draining =
            self.shutdown.is_draining().then(|| "draining: this process is about to end".to_owned());
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
        spooling.into_iter().chain(self.broker.remarks()).collect()
    }

    /// The backends that do not send now, a line each.
    pub fn idle_backends(&self) -> Vec<String> {
        let line = |(backend, health)| format!("backend {backend} {health}");
        self.health.not_ready().into_iter().map(line).collect()
    }

    /// Whether messages can be published, to the spool if there is one.
    fn status(&self) -> BrokerStatus {
        match self.spool.get() {
            Some(spool) => spool.status().borrow().clone(),
            None => self.broker.status().borrow().clone(),
        }
    }
}

/// Listens on `address`.
///
/// # Errors
/// A text that names the key, the address and what stands in its way.
pub fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(address).map_err(|error| format!("{key}: cannot listen on {address}: {error}"))
}

/// `admin.token`; without one, everybody holds it: the port is on a loopback address.
#[derive(Debug, Clone, Copy)]
struct Token(Option<SecretDigest>);

/// The middleware around what only a holder of `admin.token` may see or do: anyone else gets 401.
///
/// # Errors
/// Those of the service that it stands around.
pub async fn token_holders(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    let token = request.app_data::<web::Data<Token>>().map(|token| token.0);
    let holds = match token {
        Some(Some(token)) => bearer(request.headers()).is_some_and(|given| token.matches(given)),
        Some(None) => true,
        None => false,
    };
    if holds {
        return Ok(next.call(request).await?.map_into_boxed_body());
    }
    if let Some(metrics) = request.app_data::<web::Data<AdminMetrics>>() {
        metrics.refused.inc();
    }
    tracing::warn!(
        client = request.peer_addr().map(|peer| tracing::field::display(peer.ip())),
        "admin port: a request without admin.token is refused"
    );
    let refused = HttpResponse::Unauthorized()
        .insert_header((WWW_AUTHENTICATE, "Bearer"))
        .body("the admin token is needed: Authorization: Bearer TOKEN\n");
    Ok(request.into_response(refused))
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
    /// What [`token_holders`] asks for.
    pub token: Option<SecretDigest>,
    /// Its TLS, if it has any.
    pub tls: Option<Tls>,
}

/// The server of the admin port; to be awaited or spawned. It serves until the process ends, so
/// that a drain can be watched. Within a Tokio runtime, which follows the files of `tls`.
///
/// # Errors
/// The listener cannot be used, or this process has an admin port already.
pub fn serve(listener: TcpListener, port: AdminPort) -> std::io::Result<Server> {
    let AdminPort { metrics, readiness, letters, token, tls } = port;
    let own = AdminMetrics::declare(&metrics).map_err(std::io::Error::other)?;
    let letters = web::Data::new(letters);
    let server = HttpServer::new(move || {
        let dead = |routes: &mut web::ServiceConfig| {
            if token.is_some() {
                routes.service(dead::scope());
            }
        };
        App::new()
            .app_data(letters.clone())
            .app_data(web::Data::new(metrics.clone()))
            .app_data(web::Data::new(own.clone()))
            .app_data(web::Data::new(readiness.clone()))
            .app_data(web::Data::new(Token(token)))
            .service(
                web::resource("/metrics").wrap(from_fn(token_holders)).route(web::get().to(metrics_text)),
            )
            .configure(dead)
            .route("/livez", web::get().to(async || HttpResponse::Ok().body("ok\n")))
            .route("/readyz", web::get().to(ready))
    });
    let server = server.workers(1).disable_signals().shutdown_timeout(0);
    let server = match tls {
        None => server.listen(listener)?,
        Some(tls) => {
            let server = server.listen_rustls_0_23(listener, tls.server().map_err(std::io::Error::other)?)?;
            tokio::spawn(tls.follow());
            server
        }
    };
    Ok(server.run())
}

async fn metrics_text(
    metrics: web::Data<Metrics>,
    own: web::Data<AdminMetrics>,
    readiness: web::Data<Readiness>,
    letters: web::Data<DeadLetters>,
) -> HttpResponse {
    own.broker(&readiness.broker.status().borrow());
    if let Some(spool) = readiness.spool.get() {
        own.spool(&spool.figures());
    }
    own.backends(&readiness.health.all());
    // Where the broker does not say, the last number stands.
    if let Ok(Ok(waiting)) = tokio::time::timeout(ASKING, letters.waiting()).await {
        own.dead_waiting(waiting);
    }
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(metrics.text())
}

async fn ready(readiness: web::Data<Readiness>) -> HttpResponse {
    let text = |lines: Vec<String>| lines.into_iter().map(|line| line + "\n").collect::<String>();
    let idle = text(readiness.idle_backends());
    match text(readiness.missing()) {
        missing if missing.is_empty() => {
            HttpResponse::Ok().body(format!("ready\n{}{idle}", text(readiness.remarks())))
        }
        missing => HttpResponse::ServiceUnavailable().body(format!("{missing}{idle}")),
    }
}
