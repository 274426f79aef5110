//! What every request is held to, whichever listener it comes to: its address's rate, the size and
//! the time of its body, the number and the size of its parameters.
//!
//! The address's rate (`ingress.rate_limit`) is off by default and counts only requests that prove
//! nothing. A provider sends all of its traffic from one address, and many do not repeat a request after
//! a 429; behind a proxy that nobody declared, everybody has one address.

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
    /// The same of a body that may hold a batch.
    pub(crate) batch_parameters: ParameterLimits,
    /// The most messages and delivery reports of one request.
    pub(crate) max_items: usize,
}

/// How many parameters a batch may have for each message or delivery report that it may hold.
const PARAMETERS_OF_AN_ITEM: usize = 50;
/// The most that this makes.
const PARAMETERS_OF_A_BATCH: usize = 50_000;

impl RequestLimits {
    /// As `ingress` says. What each address has left of its rate is in `buckets`.
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

    /// The address of the client; `None` if the last trusted proxy does not say.
    pub(crate) fn client(&self, request: &HttpRequest) -> Option<IpAddr> {
        let peer = request.peer_addr().map(|peer| peer.ip());
        self.clients.address(peer, request.headers())
    }

    /// Whether the address of `request` may still show what proves whose the request is. Asked before
    /// a proof that came with the body: others of its requests may have been answered meanwhile.
    ///
    /// # Errors
    /// How long until it may.
    pub(crate) fn may_prove(&self, request: &HttpRequest) -> Result<(), Duration> {
        self.account(request).map_or(Ok(()), |account| account.open())
    }

    /// What the client of `request` has left of its rate; `None` without a rate limit.
    pub(crate) fn account(&self, request: &HttpRequest) -> Option<Account<'_>> {
        let limiter = self.addresses.as_ref()?;
        // If the proxy does not know its client, its own rate counts.
        let peer = || request.peer_addr().map(|peer| peer.ip());
        let client = self.client(request).or_else(peer).map(rates::client)?;
        Some(Account { limiter, client })
    }
}

/// One address's share of `ingress.rate_limit`.
#[derive(Debug)]
pub(crate) struct Account<'l> {
    limiter: &'l AddressLimiter,
    client: IpAddr,
}

impl Account<'_> {
    /// Whether the address may make a request now.
    ///
    /// # Errors
    /// How long until it may.
    pub(crate) fn open(&self) -> Result<(), Duration> {
        self.limiter.open(&self.client, Instant::now())
    }

    /// Takes one request out of the address's rate.
    ///
    /// # Errors
    /// How long until there is one left; nothing is taken.
    pub(crate) fn take(&self) -> Result<(), Duration> {
        self.limiter.take(self.client, Instant::now())
    }
}
