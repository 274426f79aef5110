//! Decides which requests the admin port serves.

use super::{answer::text, metrics::AdminMetrics};
use crate::{
    bearer::bearer,
    direct::is_direct,
    rates::{self, Allowance, Buckets, retry_after},
    telemetry::LineLimit,
};
use actix_web::{
    Error, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        StatusCode,
        header::{ContentType, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    middleware::Next,
    web,
};
use postern_shared::value::SecretDigest;
use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};
use tracing::Level;

/// How many wrong tokens one address may show: ten, and one more each second.
const WRONG_TOKENS: Allowance = Allowance::new(Duration::from_secs(1), 10);

/// Requires `admin.token`. Without a token, the port is on a loopback address, and any program there is served.
#[derive(Debug)]
pub(super) struct TokenGuard {
    token: Option<SecretDigest>,
    /// Counts wrong tokens for each address that has shown one.
    wrong: Buckets<IpAddr>,
    lines: LineLimit,
}

impl TokenGuard {
    /// A guard that requires `token`, if there is one.
    pub(super) fn new(token: Option<SecretDigest>) -> Self {
        Self {
            token,
            wrong: Buckets::default(),
            lines: LineLimit::new("requests without admin.token", Level::WARN),
        }
    }

    /// The answer to a `request` that does not show the token, or whose address has shown too many wrong
    /// ones; `None` lets the request in. Without a token, requests from web pages (those with the header
    /// `Origin`) are refused: a browser on this machine also opens other people's pages.
    fn refusal(&self, request: &ServiceRequest) -> Option<HttpResponse> {
        let Some(token) = self.token else {
            let from_a_page = request.headers().contains_key(ORIGIN);
            let why = "requests from web pages are not accepted without admin.token\n";
            return from_a_page.then(|| text(StatusCode::FORBIDDEN, why.to_owned()));
        };
        let client = request.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let bucket = rates::client(client);
        // Counted before the token is compared, so that simultaneous guesses count, too.
        let refusal = match self.wrong.take(bucket, WRONG_TOKENS, Instant::now()) {
            Err(wait) => HttpResponse::TooManyRequests()
                .insert_header((RETRY_AFTER, retry_after(wait)))
                .content_type(ContentType::plaintext())
                .body("too many requests without the admin token; try again later\n"),
            Ok(()) if bearer(request.headers()).is_some_and(|given| token.matches(given)) => {
                self.wrong.give_back(&bucket, WRONG_TOKENS);
                return None;
            }
            Ok(()) => HttpResponse::Unauthorized()
                .insert_header((WWW_AUTHENTICATE, "Bearer"))
                .content_type(ContentType::plaintext())
                .body("the admin token is required: Authorization: Bearer TOKEN\n"),
        };
        if self.lines.admits(refusal.status().as_u16()) {
            tracing::warn!(%client, "admin port: request without a valid admin.token refused");
        }
        Some(refusal)
    }

    /// [`Self::refusal`] for an operator's request. Without a token, a request that came through a proxy,
    /// or that calls this machine by a name that is not a loopback name, is refused, too: its sender cannot
    /// be known.
    fn refusal_of_operator(&self, request: &ServiceRequest) -> Option<HttpResponse> {
        let refusal = self.refusal(request);
        let is_strange = self.token.is_none() && !is_direct(request.uri(), request.headers());
        let why = "without admin.token, only direct requests from this machine to a loopback name or address are \
                   served: set admin.token and send it as Authorization: Bearer TOKEN\n";
        refusal.or_else(|| is_strange.then(|| text(StatusCode::FORBIDDEN, why.to_owned())))
    }
}

/// The middleware that lets only holders of `admin.token` in. Anyone else gets 401, and 429 after too many
/// attempts from one address.
///
/// # Errors
/// The errors of the wrapped service.
pub(super) async fn token_holders(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    guarded(request, next, TokenGuard::refusal).await
}

/// The middleware that lets only operators in: like [`token_holders`], but without a token it answers 403
/// to any request that a program on this machine did not send directly.
///
/// # Errors
/// The errors of the wrapped service.
pub(super) async fn operators(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse, Error> {
    guarded(request, next, TokenGuard::refusal_of_operator).await
}

async fn guarded(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
    refusal: fn(&TokenGuard, &ServiceRequest) -> Option<HttpResponse>,
) -> Result<ServiceResponse, Error> {
    let refusal = match request.app_data::<web::Data<TokenGuard>>() {
        Some(guard) => refusal(guard, &request),
        None => Some(HttpResponse::Unauthorized().finish()),
    };
    let Some(refusal) = refusal else { return Ok(next.call(request).await?.map_into_boxed_body()) };
    if let Some(metrics) = request.app_data::<web::Data<AdminMetrics>>() {
        metrics.refused.inc();
    }
    Ok(request.into_response(refusal))
}
