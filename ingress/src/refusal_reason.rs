//! The reasons why requests are refused, for metrics and logs.
//!
//! A log line names fields and checks as the configuration or the protocol does, never as the request does.

use actix_web::http::StatusCode;

/// The reason why a request on the public port was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum RefusalReason {
    /// The client's address is not in `receive.allow`, or not one of the user's.
    Address,
    /// The user name or the password is missing or wrong.
    Password,
    /// The token is missing or wrong.
    Token,
    /// The signature or its time is missing, or nothing of the request would be signed.
    Unsigned,
    /// The signature is wrong.
    Signature,
    /// The request was signed too long ago, or by a clock that is wrong.
    Stale,
    /// The claims of the signed token do not match the request.
    Claim,
    /// The API key is missing or unknown.
    Key,
    /// The API key has expired.
    Expired,
    /// There are no API keys, and the client is not on this machine.
    NotLocal,
    /// The API key or the user may not use the backend.
    Backend,
    /// The API key does not have the right that the request needs.
    Right,
    /// One address, API key or user sent too many requests.
    Rate,
    /// A list in the body has items that the configuration does not read.
    Items,
    /// A field is missing or wrong.
    #[default]
    Form,
    /// The message fails one of the backend's `checks`.
    Check,
    /// The body should be JSON and is not.
    Json,
    /// The body should be XML and is not.
    Xml,
    /// The text is not in the charset that the request names, or that charset is unknown.
    Charset,
    /// The body is incomplete, or not what its `Content-Type` says.
    Body,
    /// The `Content-Type` or `Content-Encoding` is not accepted.
    MediaType,
    /// The body, a part of it or the number of parameters is too large.
    Size,
    /// The body did not arrive in time.
    Timeout,
    /// The `Idempotency-Key` was used for another message.
    Idempotency,
    /// The method is not allowed at the path.
    Method,
    /// There is nothing at the path, or the backend does not exist.
    NotFound,
}

impl RefusalReason {
    /// The name in metric labels and in logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Password => "password",
            Self::Token => "token",
            Self::Unsigned => "unsigned",
            Self::Signature => "signature",
            Self::Stale => "stale",
            Self::Claim => "claim",
            Self::Key => "key",
            Self::Expired => "expired",
            Self::NotLocal => "not_local",
            Self::Backend => "backend",
            Self::Right => "right",
            Self::Rate => "rate",
            Self::Items => "items",
            Self::Form => "form",
            Self::Check => "check",
            Self::Json => "json",
            Self::Xml => "xml",
            Self::Charset => "charset",
            Self::Body => "body",
            Self::MediaType => "media_type",
            Self::Size => "size",
            Self::Timeout => "timeout",
            Self::Idempotency => "idempotency",
            Self::Method => "method",
            Self::NotFound => "not_found",
        }
    }

    /// The reason that follows from an answer's `status` alone; `None` if that does not refuse anything.
    pub(crate) fn of_status(status: StatusCode) -> Option<Self> {
        match status {
            StatusCode::NOT_FOUND => Some(Self::NotFound),
            StatusCode::METHOD_NOT_ALLOWED => Some(Self::Method),
            StatusCode::REQUEST_TIMEOUT => Some(Self::Timeout),
            StatusCode::PAYLOAD_TOO_LARGE => Some(Self::Size),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Some(Self::MediaType),
            StatusCode::TOO_MANY_REQUESTS => Some(Self::Rate),
            status if status.is_client_error() => Some(Self::Form),
            _ => None,
        }
    }
}
