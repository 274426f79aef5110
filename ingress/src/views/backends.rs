//! `GET /v1/backends`: what there is, and whether it works.

use super::Gateway;
use crate::{auth::Caller, limit, problem::Problem};
use actix_web::{HttpMessage, HttpRequest, HttpResponse, http::StatusCode, web};
use futures_util::future::{join, join_all};
use jiff::Timestamp;
use postern_broker::{QueueName, Status};
use postern_config::backend::BackendConfig;
use postern_service::metrics::Refused;
use postern_shared::message::Priority;
use serde::Serialize;
use std::time::Instant;

/// One backend, as the list shows it.
#[derive(Serialize)]
struct Shown<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    receives: bool,
    sends: bool,
    state: State,
    /// Messages that wait to be sent; `None` where the broker does not say.
    queued: Option<u64>,
}

/// Whether a message would go through.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// It would.
    Ready,
    /// Messages are stored and wait: this process sends none, since the provider is down or asked
    /// for time. Of another process this is not known; where no process consumes, it is `unserved`.
    Paused,
    /// Messages are stored and wait: no dispatcher serves the backend.
    Unserved,
    /// Messages are stored on the gateway's disk, and forwarded when the broker is back.
    Spooling,
    /// Messages are refused with 503: the broker takes none.
    Unavailable,
}

/// The view.
pub(crate) async fn list(request: HttpRequest, gateway: web::Data<Gateway>) -> HttpResponse {
    let caller = match caller(&request, &gateway) {
        Ok(caller) => caller,
        Err(refused) => return refused.response(),
    };
    let mine = gateway.config.backends.values().filter(|backend| caller.may_use(&backend.name));
    let backends = join_all(mine.map(|backend| show(backend, &gateway))).await;
    HttpResponse::Ok().json(serde_json::json!({ "backends": backends }))
}

async fn show<'a>(backend: &'a BackendConfig, gateway: &Gateway) -> Shown<'a> {
    let broker = gateway.publisher.broker();
    let status = broker.status().borrow().clone();
    let usable = status == Status::Ready;
    let (normal, bulk) = (
        QueueName::outbound(&backend.name, Priority::Normal),
        QueueName::outbound(&backend.name, Priority::Bulk),
    );
    let sends = backend.definition.sends();
    let depths = if usable && sends {
        let (normal, bulk) = join(broker.depth(&normal), broker.depth(&bulk)).await;
        normal.ok().zip(bulk.ok())
    } else {
        None
    };
    let state = match depths {
        _ if matches!(status, Status::Spooling(_)) => State::Spooling,
        _ if !usable => State::Unavailable,
        _ if gateway.metrics.is_paused(&backend.name) => State::Paused,
        Some((normal, _)) if normal.consumers == 0 => State::Unserved,
        _ => State::Ready,
    };
    Shown {
        name: backend.name.as_str(),
        kind: &backend.definition.kind,
        receives: !backend.definition.receive.methods.is_empty(),
        sends,
        state,
        queued: depths.map(|(normal, bulk)| normal.ready + bulk.ready),
    }
}

/// Who calls `/v1`.
///
/// # Errors
/// The answer: the same whatever is wrong with the key.
pub(super) fn caller<'g>(request: &HttpRequest, gateway: &'g Gateway) -> Result<Caller<'g>, Problem> {
    let refused = |why, answer| {
        request.extensions_mut().insert(why);
        answer
    };
    let caller = gateway.keys.caller(request.headers(), Timestamp::now()).map_err(|why| {
        let detail = "a known key is needed: Authorization: Bearer KEY";
        refused(why, Problem::new(StatusCode::UNAUTHORIZED, detail))
    })?;
    if matches!(caller, Caller::Holder(_)) {
        limit::proved(request);
    }
    let counted = gateway.keys.count(caller, Instant::now());
    counted.map_err(|wait| refused(Refused::Rate, Problem::too_many(wait)))?;
    Ok(caller)
}

/// The answer to any other method.
pub(crate) async fn only_get() -> HttpResponse {
    Problem::method("GET")
}
