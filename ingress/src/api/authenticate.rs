//! The authentication of requests to `/v1`.

use crate::{
    answer::{Answer, Charge},
    auth::{Principal, is_local},
    problem::ProblemDocument,
    refusal_reason::RefusalReason,
    state::IngressState,
};
use actix_web::{HttpRequest, http::StatusCode};
use jiff::Timestamp;
use postern_config::Right;
use std::time::Instant;

/// What a client on another machine is told if there are no API keys.
const NOT_LOCAL: &str = "no API key is configured, so only programs on this machine may send and read, \
                         directly and by a loopback name or address: set [[api.keys]] (`postern key` creates \
                         a key) and send Authorization: Bearer KEY";

/// Lets `serve` answer a request to `/v1` if the caller has a key with `right` and is within the key's rate.
/// If no keys are configured, the caller must be on this machine and within the rate of its address. `right`
/// is `None` for what every key may do.
pub(super) async fn authenticated<'s>(
    request: &HttpRequest,
    state: &'s IngressState,
    right: impl Into<Option<Right>>,
    serve: impl AsyncFnOnce(Principal<'s>) -> Result<Answer, ProblemDocument>,
) -> Answer {
    let principal = match state.keys.principal(request.headers(), Timestamp::now()) {
        Ok(principal) => principal,
        Err(why) => {
            // The answer is the same for any mistake in the key.
            let detail = "a valid API key is required: Authorization: Bearer KEY";
            return ProblemDocument::new(StatusCode::UNAUTHORIZED, detail).refused(why).into();
        }
    };
    if matches!(principal, Principal::Anyone) && !is_local(request, &state.limits.clients) {
        let problem = ProblemDocument::new(StatusCode::FORBIDDEN, NOT_LOCAL);
        return problem.refused(RefusalReason::NotLocal).into();
    }
    let counted = match principal {
        Principal::Anyone => state.limits.account(request).map_or(Ok(()), |account| account.take()),
        Principal::ApiKey(_) | Principal::CompatUser(_) => state.keys.count(principal, Instant::now()),
    };
    let served = match counted {
        Ok(()) => match right.into().filter(|right| !principal.may(*right)) {
            None => serve(principal).await,
            Some(lacking) => Err(without(lacking)),
        },
        Err(wait) => Err(ProblemDocument::too_many(wait)),
    };
    served.unwrap_or_else(Answer::from).charged(Charge::Nothing)
}

/// The answer to a key that lacks `right`.
fn without(right: Right) -> ProblemDocument {
    let (right, what) = match right {
        Right::Send => (right.as_str(), "send messages"),
        Right::Read => (right.as_str(), "read messages"),
    };
    let detail = format!(
        "this key may not {what}: use a key whose entry in [[api.keys]] has may = [\"{right}\"], or add \
         \"{right}\" to `may` of this key"
    );
    ProblemDocument::new(StatusCode::FORBIDDEN, detail).refused(RefusalReason::Right)
}
