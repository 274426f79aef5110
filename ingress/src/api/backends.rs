//! `GET /v1/backends`: the backends, and whether each works.

use super::authenticate::authenticated;
use crate::{answer::Answer, state::IngressState};
use actix_web::{HttpRequest, HttpResponse, dev::Payload};
use futures_util::future::{join, join_all};
use postern_broker::{BrokerStatus, QueueName};
use postern_config::backend::BackendConfig;
use postern_service::health::BackendHealth;
use postern_shared::message::Priority;
use serde::Serialize;

/// One backend, as the list shows it.
#[derive(Serialize)]
struct ShownBackend<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    receives: bool,
    sends: bool,
    state: BackendState,
    /// Why the backend does not send, for an operator; absent if it sends, or if the reason is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// How many messages wait to be sent; `None` if not known.
    queued: Option<u64>,
    /// How many messages wait for their next attempt; `None` if not known.
    retrying: Option<u64>,
}

/// What happens to a message for the backend.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum BackendState {
    /// Messages are sent.
    Ready,
    /// Messages are stored and wait: an operator paused the backend, or the provider is down or asked for a
    /// pause.
    Paused,
    /// Messages are stored and wait: the backend's connector has no connection to its provider.
    Unbound,
    /// Messages are stored and wait: no dispatcher serves the backend.
    Unserved,
    /// Messages are stored on the gateway's disk, and forwarded when the broker is back.
    Spooling,
    /// Messages are refused with 503: the broker accepts none.
    Unavailable,
}

/// Lists the backends that the caller may use.
pub(crate) async fn list(request: &HttpRequest, _: &mut Payload, state: &IngressState) -> Answer {
    authenticated(request, state, None, async |principal| {
        let mine = state.config.backends.values().filter(|backend| principal.may_use(&backend.name));
        let backends = join_all(mine.map(|backend| show(backend, state))).await;
        Ok(HttpResponse::Ok().json(serde_json::json!({ "backends": backends })).into())
    })
    .await
}

async fn show<'a>(backend: &'a BackendConfig, state: &IngressState) -> ShownBackend<'a> {
    let broker = state.publisher.broker();
    let status = broker.status().borrow().clone();
    let usable = status == BrokerStatus::Ready;
    let (normal, bulk) = (
        QueueName::outbound(&backend.name, Priority::Normal),
        QueueName::outbound(&backend.name, Priority::Bulk),
    );
    let sends = backend.definition.connector.sends();
    let depths = if usable && sends {
        let (normal, bulk) = join(broker.depth(&normal), broker.depth(&bulk)).await;
        normal.ok().zip(bulk.ok())
    } else {
        None
    };
    let unconsumed = depths.is_some_and(|(normal, bulk)| normal.consumers + bulk.consumers == 0);
    let health = match state.health.of(&backend.name) {
        // A dispatcher does not consume while the backend is paused.
        BackendHealth::Ready if unconsumed => state.health.elsewhere(&backend.name),
        known => Some(known),
    };
    let shown = match &health {
        _ if matches!(status, BrokerStatus::Spooling(_)) => BackendState::Spooling,
        _ if !usable => BackendState::Unavailable,
        None => BackendState::Unserved,
        Some(health) => match health {
            BackendHealth::Ready => BackendState::Ready,
            BackendHealth::NotBound { .. } => BackendState::Unbound,
            BackendHealth::Paused { .. } | BackendHealth::PausedByOperator { .. } => BackendState::Paused,
        },
    };
    let retrying = match depths {
        Some((normal, bulk)) => state.retries.of(broker, &[normal, bulk], true).await,
        None => None,
    };
    let reason = health.filter(|health| *health != BackendHealth::Ready).map(|health| health.to_string());
    ShownBackend {
        name: backend.name.as_str(),
        kind: &backend.definition.kind,
        receives: !backend.definition.receive.methods.is_empty(),
        sends,
        state: shown,
        reason,
        queued: depths.map(|(normal, bulk)| normal.ready + bulk.ready),
        retrying,
    }
}
