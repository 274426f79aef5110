//! The reasons why a provider's request is refused, and the answers.

use crate::{
    answer::{Answer, Charge, text, too_many, unavailable},
    body::{BodyError, BodyLimits},
    forms::{Errors, Unreadable},
    refusal_reason::RefusalReason,
};
use actix_web::{
    HttpResponse,
    http::{
        ConnectionType, StatusCode,
        header::{self, HeaderValue},
    },
};
use postern_config::backend::each::{NoItems, UnreadItems};
use std::time::Duration;

/// The reason why a provider's request is refused.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The method is not allowed. Holds the allowed ones.
    Method(HeaderValue),
    /// The client's address exceeds its rate. Holds how long to wait.
    Rate(Duration),
    /// The request is not the provider's own.
    NotProved(RefusalReason),
    /// The body was not read. Whether that counts against the address's rate depends on whether the request
    /// had to prove anything.
    Body(BodyError, Charge),
    /// The parameters cannot be read.
    Unreadable(Unreadable),
    /// The request is invalid.
    Invalid(Errors),
    /// A list in the body has items that the configuration does not read. Holds the list, and the key to set.
    Unread(UnreadItems, &'static str),
    /// The request brings more at once than is accepted.
    TooMuch(String),
    /// The form panicked, which is our mistake. The provider should try again.
    Failed,
}

impl Refusal {
    /// The refusal of a body whose items are not accepted; `key` is the setting that names them.
    pub(super) fn no_items(why: NoItems, key: &'static str) -> Self {
        match why {
            NoItems::Unread(unread) => Self::Unread(unread, key),
            NoItems::TooMany(_) => Self::TooMuch(why.to_string()),
            NoItems::NotAList(_) => Self::Invalid(Errors::whole(why.to_string())),
        }
    }

    /// The answer to the refused request.
    pub(crate) fn answer(self, limits: &BodyLimits) -> Answer {
        let (response, charge) = match self {
            Self::Method(allow) => {
                let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
                response.headers_mut().insert(header::ALLOW, allow);
                (response, Charge::Address)
            }
            Self::Rate(wait) => {
                return Answer::refused(too_many(wait), RefusalReason::Rate).charged(Charge::Nothing);
            }
            Self::NotProved(why) => return Answer::refused(not_proved(why), why),
            Self::Body(error, charge) => {
                let mut answer = Answer::from(unread(error, limits)).charged(charge);
                answer.log.refused = error.reason();
                return answer;
            }
            Self::Unreadable(Unreadable::MediaType(why)) => {
                (text(StatusCode::UNSUPPORTED_MEDIA_TYPE, &why), Charge::Nothing)
            }
            Self::Unreadable(Unreadable::Malformed(errors)) | Self::Invalid(errors) => {
                return Answer::invalid(&errors).charged(Charge::Nothing);
            }
            Self::Unread(why, key) => {
                let errors = Errors::whole(format!("{why}: set {key}")).because(RefusalReason::Items);
                return Answer::invalid(&errors).charged(Charge::Nothing);
            }
            Self::TooMuch(why) => (text(StatusCode::PAYLOAD_TOO_LARGE, &why), Charge::Nothing),
            Self::Failed => (unavailable(), Charge::Nothing),
        };
        Answer::from(response).charged(charge)
    }
}

/// The response to a request that is not the provider's own: the same for every wrong proof of one kind.
fn not_proved(why: RefusalReason) -> HttpResponse {
    match why {
        RefusalReason::Password => {
            let mut response = text(StatusCode::UNAUTHORIZED, "a valid user name and password are required");
            let challenge = HeaderValue::from_static("Basic realm=\"postern\", charset=\"UTF-8\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            response
        }
        RefusalReason::Address => text(StatusCode::FORBIDDEN, "this address is not allowed here"),
        RefusalReason::Token => text(StatusCode::FORBIDDEN, "the token is missing or wrong"),
        _ => text(StatusCode::FORBIDDEN, "the signature is missing or wrong"),
    }
}

fn unread(error: BodyError, limits: &BodyLimits) -> HttpResponse {
    let detail = error.detail(limits);
    let mut response = match error.status() {
        StatusCode::BAD_REQUEST => text(StatusCode::BAD_REQUEST, &Errors::whole(detail).to_string()),
        StatusCode::SERVICE_UNAVAILABLE => unavailable(),
        status => text(status, &detail),
    };
    if error == BodyError::TooSlow {
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    response
}
