//! `ingress.rate_limit`: an address that asks too much of what it has not proved is refused at the
//! door.

use crate::{
    auth::Clients,
    problem::Problem,
    rates::{self, Allowance, Buckets},
    views::{Gateway, provider},
};
use actix_web::{
    Error, HttpMessage, HttpRequest,
    body::BoxBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::Next,
    web,
};
use postern_shared::{config::AddressLimit, metrics::Refused};
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

/// The buckets of the addresses.
#[derive(Debug)]
pub(crate) struct Limit {
    allowance: Allowance,
    buckets: Buckets<IpAddr>,
}

impl From<AddressLimit> for Limit {
    fn from(limit: AddressLimit) -> Self {
        Self { allowance: limit.into(), buckets: Buckets::default() }
    }
}

/// A request that costs its address nothing more: it has proved itself, or is counted already.
struct Settled;

/// Notes that `request` has proved whose it is.
pub(crate) fn proved(request: &HttpRequest) {
    request.extensions_mut().insert(Settled);
}

/// Counts `request`, which nothing is asked of, before it is dealt with.
///
/// # Errors
/// How long its address has to wait.
pub(crate) fn count(request: &HttpRequest, gateway: &Gateway) -> Result<(), Duration> {
    let Some(limit) = &gateway.limit else { return Ok(()) };
    let Some(client) = caller(&gateway.clients, request) else { return Ok(()) };
    request.extensions_mut().insert(Settled);
    limit.buckets.take(client, limit.allowance, Instant::now())
}

/// Whose bucket it is. Where the proxy does not know its client, the proxy's.
fn caller(clients: &Clients, request: &HttpRequest) -> Option<IpAddr> {
    let peer = request.peer_addr().map(|peer| peer.ip());
    clients.address(peer, request.headers()).or(peer).map(rates::client)
}

/// The middleware around every view. What a request costs is known when it has been dealt with:
/// nothing where it proved itself.
pub(crate) async fn limit(request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse, Error> {
    let gateway = request.app_data::<web::Data<Gateway>>().cloned();
    let Some((gateway, limit)) = gateway.as_ref().and_then(|it| Some((it, it.limit.as_ref()?))) else {
        return next.call(request).await;
    };
    let Some(client) = caller(&gateway.clients, request.request()) else {
        return next.call(request).await;
    };
    if let Err(wait) = limit.buckets.open(&client, limit.allowance, Instant::now()) {
        request.extensions_mut().insert(Refused::Rate);
        let answer = if request.path().starts_with("/v1/") {
            Problem::too_many(wait).response()
        } else {
            provider::too_many(wait)
        };
        return Ok(request.into_response(answer));
    }
    let response = next.call(request).await?;
    if response.request().extensions_mut().remove::<Settled>().is_none() {
        // It may be empty by now: there is nothing more to take.
        let _ = limit.buckets.take(client, limit.allowance, Instant::now());
    }
    Ok(response)
}
