//! `GET /health` and `HEAD /health`, for load balancers: whether this process takes requests.
//!
//! It does not go through the wrapper of the other handlers (`respond`): a probe every second is not worth a
//! log line, and an address that exceeds its rate must not look like a process that is down.

use crate::{answer::text, state::IngressState};
use actix_web::{HttpResponse, http::StatusCode, web::Data};
use postern_service::current::Current;

/// Answers 200 `ok`, or 503 once the drain has begun. `/readyz` on the admin port says whether messages can
/// be stored: an unavailable broker is no reason to take every ingress out of a load balancer.
pub(crate) async fn answer(current: Data<Current<IngressState>>) -> HttpResponse {
    if current.get().is_draining() { draining() } else { text(StatusCode::OK, "ok") }
}

fn draining() -> HttpResponse {
    text(StatusCode::SERVICE_UNAVAILABLE, "draining")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_no_success() {
        assert_eq!(draining().status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
