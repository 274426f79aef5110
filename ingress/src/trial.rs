//! Recorded requests, processed as a running ingress processes a provider's: by the same functions, but
//! without a listener and without a broker.

use crate::{
    answer::{Answer, text},
    forms::Forms,
    limits::RequestLimits,
    provider::{ProviderEndpoints, ProviderPath, Taken},
    refusal_reason::RefusalReason,
};
use actix_web::{
    HttpResponse,
    body::{MessageBody, to_bytes},
    http::{
        Method, StatusCode, Uri,
        header::{HeaderName, HeaderValue},
    },
    test::TestRequest,
};
use postern_config::{Config, KeyProblem, backend::BackendConfig};
use postern_service::rates::Buckets;
use postern_shared::message::{Inbound, Report};
use std::net::{Ipv4Addr, SocketAddr};

/// A backend against which recorded requests are tried.
#[derive(Debug)]
pub struct ReceiveTrial {
    provider: ProviderEndpoints,
    limits: RequestLimits,
    /// `/backends/NAME`
    path: String,
}

/// A request as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedRequest {
    /// The method.
    pub method: String,
    /// The path and the query. A path that ends in `/status` is the endpoint for delivery reports.
    pub target: String,
    /// The headers, in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The result of a tried request.
#[derive(Debug)]
pub struct Tried {
    /// What the request brings.
    pub brought: TriedContent,
    /// The answer's status.
    pub status: u16,
    /// The answer's body.
    pub answer: String,
}

/// What a request brings.
#[derive(Debug)]
pub enum TriedContent {
    /// Messages and delivery reports, in order. If there are none, the request is ignored.
    Items {
        /// The messages.
        messages: Vec<Inbound>,
        /// The delivery reports.
        reports: Vec<Report>,
        /// What is wrong with the items that are left out, one line each. Empty if none is left out.
        left_out: String,
    },
    /// Nothing: the request is the provider's handshake.
    Handshake,
    /// Nothing: the request is refused. Holds the reason, as in logs and metrics.
    Refused(&'static str),
}

impl ReceiveTrial {
    /// A trial of `backend` from `config`.
    ///
    /// # Errors
    /// Every key below `backends.NAME` that is wrong.
    pub fn new(config: &Config, backend: &BackendConfig, forms: &Forms) -> Result<Self, Vec<KeyProblem>> {
        let provider = ProviderEndpoints::new(backend, config.ingress.public_url.as_deref(), forms)?;
        let limits = RequestLimits::new(&config.ingress, Buckets::default());
        Ok(Self { provider, limits, path: format!("/backends/{}", backend.name) })
    }

    /// Processes `request`. A path that is not the backend's counts as the backend's.
    ///
    /// # Errors
    /// What makes `request` an invalid HTTP request.
    pub async fn take(&self, request: &RecordedRequest) -> Result<Tried, String> {
        let target: Uri =
            request.target.parse().map_err(|_| format!("{} is not a request path", request.target))?;
        let method = Method::from_bytes(request.method.as_bytes());
        let method = method.map_err(|_| format!("{} is not a method", request.method))?;
        let (path, token) = self.place(target.path());
        let mut made = TestRequest::default()
            .method(method)
            .uri(&request.target)
            .peer_addr(SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000)))
            .set_payload(request.body.clone());
        if let Some(token) = token {
            made = made.param("token", token.to_owned());
        }
        for (name, value) in &request.headers {
            let header = name.parse::<HeaderName>().ok().zip(HeaderValue::from_str(value).ok());
            made = made.append_header(header.ok_or_else(|| format!("{name} is not a header"))?);
        }
        let (made, mut payload) = made.to_http_parts();
        let endpoint = match self.provider.reached(path, &made) {
            Ok(endpoint) => endpoint,
            Err(why) => return Ok(refused(text(StatusCode::NOT_FOUND, why).into()).await),
        };
        match self.provider.take(path, &made, &mut payload, &self.limits).await {
            Ok(Taken::Challenge(reply, _)) => {
                Ok(Tried { brought: TriedContent::Handshake, status: 200, answer: reply })
            }
            Ok(Taken::Brought(brought)) => {
                let left_out = if brought.invalid.count == 0 {
                    String::new()
                } else {
                    brought.invalid.errors.to_string()
                };
                let reports = brought.reports.into_iter().map(|reported| reported.report).collect();
                let (status, answer) = read(endpoint.reply()).await;
                let brought = TriedContent::Items { messages: brought.messages, reports, left_out };
                Ok(Tried { brought, status, answer })
            }
            Err(refusal) => Ok(refused(refusal.answer(&self.limits.body)).await),
        }
    }

    /// The endpoint that `path` means, and the token in the path.
    fn place<'p>(&self, path: &'p str) -> (ProviderPath, Option<&'p str>) {
        let own = path.strip_prefix(self.path.as_str());
        let below = own.filter(|rest| rest.is_empty() || rest.starts_with('/'));
        let mut segments: Vec<&str> =
            below.unwrap_or(path).split('/').filter(|segment| !segment.is_empty()).collect();
        let is_reports = segments.pop_if(|last| *last == "status").is_some();
        let token = below.and(segments.first().copied());
        (if is_reports { ProviderPath::Reports } else { ProviderPath::Messages }, token)
    }
}

async fn refused(answer: Answer) -> Tried {
    let Answer { response, log, .. } = answer;
    let reason = log.refused.or_else(|| RefusalReason::of_status(response.status()));
    let (status, answer) = read(response).await;
    Tried { brought: TriedContent::Refused(reason.unwrap_or_default().as_str()), status, answer }
}

async fn read(response: HttpResponse) -> (u16, String) {
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body().boxed()).await.unwrap_or_default();
    (status, String::from_utf8_lossy(&body).trim_end().to_owned())
}
