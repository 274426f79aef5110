//! Why requests are refused, as metrics and logs say it.
//!
//! A log line names fields and checks by what the configuration or the protocol calls them, never by the
//! request.

use actix_web::http::StatusCode;

/// Why a request on the public port was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum RefusalReason {
    /// Its address is not in `receive.allow`.
    Address,
    /// No known user name and password.
    Password,
    /// No known token.
    Token,
    /// No signature where the configuration has it: not its header, not its time, or nothing that is signed.
    Unsigned,
    /// A signature that is not right.
    Signature,
    /// What is signed was signed too long ago, or by another clock.
    Stale,
    /// A signed token whose claims do not fit the request.
    Claim,
    /// No known API key.
    Key,
    /// An API key that has expired.
    Expired,
    /// There are no API keys, and the client is not on this machine.
    NotLocal,
    /// A backend that its API key may not use.
    Backend,
    /// Its API key may not do this.
    Right,
    /// Too many requests of one address or one API key.
    Rate,
    /// A list in its body has items that the configuration does not read.
    Items,
    /// A field of it is missing or wrong.
    #[default]
    Form,
    /// It fails one of the backend's `checks`.
    Check,
    /// Its body is not the JSON that it should be.
    Json,
    /// Its body is not the XML that it should be.
    Xml,
    /// Its text is not in the charset that it names, or nobody knows that charset.
    Charset,
    /// Its body is incomplete, or not what its `Content-Type` says.
    Body,
    /// Its `Content-Type` or `Content-Encoding` is not taken.
    MediaType,
    /// Its body, a part of it or the number of its parameters is too large.
    Size,
    /// Its body did not come in time.
    Timeout,
    /// Its `Idempotency-Key` was used for another message.
    Idempotency,
    /// Its method is not taken there.
    Method,
    /// There is nothing at its path, or no such backend.
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

    /// What an answer with `status` alone says of the reason; `None` if it refuses nothing.
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
