//! Why requests are refused, as metrics and logs say it.

/// Why a request on the public port was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum RefusalReason {
    /// Its address is not in `receive.allow`.
    Address,
    /// No known user name and password.
    Password,
    /// No known token.
    Token,
    /// No right signature.
    Signature,
    /// What is signed was signed too long ago, or by another clock.
    Stale,
    /// No known API key.
    Key,
    /// An API key that has expired.
    Expired,
    /// There are no API keys, and the client is not on this machine.
    NotLocal,
    /// A backend that its API key may not use.
    Backend,
    /// Too many requests of one address or one API key.
    Rate,
    /// A list in its body has items that the configuration does not read.
    Items,
}

impl RefusalReason {
    /// The name in metric labels and in logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Password => "password",
            Self::Token => "token",
            Self::Signature => "signature",
            Self::Stale => "stale",
            Self::Key => "key",
            Self::Expired => "expired",
            Self::NotLocal => "not_local",
            Self::Backend => "backend",
            Self::Rate => "rate",
            Self::Items => "items",
        }
    }
}
