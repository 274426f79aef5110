//! The limits of every request, on any listener: its address's rate, the size and the time of its body, the
//! number and the size of its parameters.
//!
//! The address's rate (`ingress.rate_limit`) is off by default and counts only requests that prove nothing. A
//! provider sends all of its traffic from one address, and many do not repeat a request after a 429; behind a
//! proxy that is not configured, everybody has one address.

use crate::{auth::Clients, body::BodyLimits, forms::ParameterLimits};
use actix_web::HttpRequest;
use postern_config::IngressSection;
use postern_service::rates::{self, AddressLimiter, Buckets};
use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

/// The limits of `[ingress]`.
#[derive(Debug)]
pub(crate) struct RequestLimits {
    /// How a client's address is found.
    pub(crate) clients: Clients,
    /// `ingress.rate_limit`; `None`: no limit.
    addresses: Option<AddressLimiter>,
    pub(crate) body: BodyLimits,
    pub(crate) parameters: ParameterLimits,
    /// The same limits for a body that may hold a batch.
    pub(crate) batch_parameters: ParameterLimits,
    /// The most messages and delivery reports of one request.
    pub(crate) max_items: usize,
}

/// How many parameters a batch may have for each message or delivery report that it may hold.
const PARAMETERS_OF_AN_ITEM: usize = 50;
/// The most parameters that [`PARAMETERS_OF_AN_ITEM`] can add up to.
const PARAMETERS_OF_A_BATCH: usize = 50_000;

impl RequestLimits {
    /// The limits that `ingress` sets; `buckets` holds what each address has left of its rate.
    pub(crate) fn new(ingress: &IngressSection, buckets: Buckets<IpAddr>) -> Self {
        let parameters = ParameterLimits::from(ingress);
        let of_items = PARAMETERS_OF_A_BATCH.min(PARAMETERS_OF_AN_ITEM * ingress.max_items);
        Self {
            clients: Clients::from(ingress),
            addresses: ingress.rate_limit.map(|limit| AddressLimiter::new(limit, buckets)),
            body: BodyLimits::new(ingress.max_body, ingress.read_timeout.0),
            parameters,
            batch_parameters: ParameterLimits {
                max_fields: parameters.max_fields.max(of_items),
                ..parameters
            },
            max_items: ingress.max_items,
        }
    }

    /// The address of the client; `None` if the last trusted proxy does not give it.
    pub(crate) fn client(&self, request: &HttpRequest) -> Option<IpAddr> {
        let peer = request.peer_addr().map(|peer| peer.ip());
        self.clients.address(peer, request.headers())
    }

    /// Checks that the address of `request` is still within its rate, before a proof in the body is looked
    /// at: other requests of the address may have been answered since the head was read.
    ///
    /// # Errors
    /// How long to wait until it is.
    pub(crate) fn may_prove(&self, request: &HttpRequest) -> Result<(), Duration> {
        self.account(request).map_or(Ok(()), |account| account.open())
    }

    /// The account of the client of `request` under the rate limit; `None` without a rate limit.
    pub(crate) fn account(&self, request: &HttpRequest) -> Option<Account<'_>> {
        let limiter = self.addresses.as_ref()?;
        // If the proxy does not know its client, the proxy's own rate counts.
        let peer = || request.peer_addr().map(|peer| peer.ip());
        let client = self.client(request).or_else(peer).map(rates::client)?;
        Some(Account { limiter, client })
    }
}

/// The account of one address under `ingress.rate_limit`.
#[derive(Debug)]
pub(crate) struct Account<'l> {
    limiter: &'l AddressLimiter,
    client: IpAddr,
}

impl Account<'_> {
    /// Checks that the address may make a request now.
    ///
    /// # Errors
    /// How long to wait until it may.
    pub(crate) fn open(&self) -> Result<(), Duration> {
        self.limiter.open(&self.client, Instant::now())
    }

    /// Counts one request against the address's rate.
    ///
    /// # Errors
    /// How long to wait until the next request is accepted; this one is not counted.
    pub(crate) fn take(&self) -> Result<(), Duration> {
        self.limiter.take(self.client, Instant::now())
    }
}
