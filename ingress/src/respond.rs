//! One log line and one count for each request: never its query, its body or an identity.

use crate::{body::Unread, views::Gateway};
use actix_web::{
    Error, HttpMessage, HttpRequest,
    body::BoxBody,
    dev::{ServiceRequest, ServiceResponse},
    http::Method,
    middleware::Next,
    web,
};
use postern_shared::{
    message::{BackendName, MessageId},
    metrics::Refused,
};
use std::time::Instant;

/// What a view found out about a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// The configured backend that a provider's request names; a label of the metrics.
    pub(crate) backend: Option<BackendName>,
    /// The door that it came in by: one of a closed set, and a label of the metrics.
    pub(crate) door: Option<&'static str>,
    /// The message that it became.
    pub(crate) message: Option<MessageId>,
    /// Its trace.
    pub(crate) trace: Option<String>,
}

impl Seen {
    /// Remembers it for the log line of `request`.
    pub(crate) fn note(self, request: &HttpRequest) {
        request.extensions_mut().insert(self);
    }
}

/// The middleware around every view.
pub(crate) async fn observe(
    mut request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse, Error> {
    let start = Instant::now();
    let method = label(request.method());
    let gateway = request.app_data::<web::Data<Gateway>>().cloned();
    let unread = Unread::hold(&mut request);
    let answered = next.call(request).await;
    let (status, seen, refused) = match &answered {
        Ok(response) => {
            let request = response.request();
            let refused = request.extensions_mut().remove::<Refused>().map(|why| (why, request.clone()));
            (response.status(), request.extensions_mut().remove::<Seen>(), refused)
        }
        Err(error) => (error.as_response_error().status_code(), None, None),
    };
    let seen = seen.unwrap_or_default();
    let duration = start.elapsed();
    // Where it came from is said of those only who were not let in: whom to shut out, or to ask.
    let mut client = None;
    if let Some(gateway) = gateway {
        if let Some((why, request)) = &refused {
            gateway.metrics.refused(seen.backend.as_ref(), *why);
            let peer = request.peer_addr().map(|peer| peer.ip());
            client = gateway.clients.address(peer, request.headers());
        }
        let door = seen.door.unwrap_or_default();
        gateway.metrics.request(seen.backend.as_ref(), door, method, status.as_u16(), duration.as_secs_f64());
    }
    tracing::info!(
        target: "postern_ingress::access",
        backend = seen.backend.as_ref().map(BackendName::as_str),
        door = seen.door,
        method,
        status = status.as_u16(),
        refused = refused.as_ref().map(|(why, _)| why.as_str()),
        client = client.map(tracing::field::display),
        duration_ms = duration.as_micros() as f64 / 1000.0,
        message_id = seen.message.map(tracing::field::display),
        trace_id = seen.trace.as_deref(),
        "request"
    );
    match unread {
        Some(unread) => answered.map(|response| unread.until_answered(response)),
        None => answered,
    }
}

/// One of a closed set: anyone can make up methods.
fn label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        _ => "other",
    }
}
