//! `GET /health` and `HEAD /health`, for load balancers: whether this process takes requests.
//!
//! It is answered outside of the wrapper of all other handlers: a probe every second is not worth a log
//! line, and an address that exceeds its rate must not look like a process that is down.

use crate::{answer::text, state::IngressState};
use actix_web::{HttpResponse, http::StatusCode, web::Data};
use postern_service::current::Current;

/// Answers 200 `ok`, or 503 once the drain has begun. What stands in the way of storing messages is for
/// `/readyz` on the admin port: a broker that is away is no reason to take every ingress out of a load
/// balancer.
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
