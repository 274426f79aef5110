//! Who calls `/v1`.

use crate::{
    answer::{Answer, Charge},
    auth::Principal,
    problem::ProblemDocument,
    state::IngressState,
};
use actix_web::{HttpRequest, http::StatusCode};
use jiff::Timestamp;
use std::time::Instant;

/// Lets `serve` answer the caller of `/v1`, if the caller has a key and is within its rate, or within
/// that of its address if there are no keys.
pub(super) async fn authenticated<'s>(
    request: &HttpRequest,
    state: &'s IngressState,
    serve: impl AsyncFnOnce(Principal<'s>) -> Result<Answer, ProblemDocument>,
) -> Answer {
    let principal = match state.keys.principal(request.headers(), Timestamp::now()) {
        Ok(principal) => principal,
        Err(why) => {
            // The same whatever is wrong with the key.
            let detail = "a known key is needed: Authorization: Bearer KEY";
            return ProblemDocument::new(StatusCode::UNAUTHORIZED, detail).refused(why).into();
        }
    };
    let counted = match principal {
        Principal::Anyone => state.limits.account(request).map_or(Ok(()), |account| account.take()),
        Principal::ApiKey(_) | Principal::CompatUser(_) => state.keys.count(principal, Instant::now()),
    };
    let served = match counted {
        Ok(()) => serve(principal).await,
        Err(wait) => Err(ProblemDocument::too_many(wait)),
    };
    served.unwrap_or_else(Answer::from).charged(Charge::Nothing)
}
