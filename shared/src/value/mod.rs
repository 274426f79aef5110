//! Values that configurations, messages and programs share: spans of time, rates, secrets, networks.
//! Each is checked when it is read, and cannot be wrong afterwards.

mod backend_selection;
mod base64;
mod digest;
mod header_name;
mod header_value;
mod networks;
mod one_or_many;
mod rate;
mod reference;
mod secret;
mod secret_source;
mod signing_key;
mod span;

pub use backend_selection::BackendSelection;
pub use base64::from_base64;
pub use digest::{SecretDigest, from_hex};
pub use header_name::HeaderName;
pub use header_value::{NOT_A_HEADER_VALUE, fits_header};
pub use networks::Networks;
pub use one_or_many::OneOrMany;
pub use rate::{MAX_CONCURRENCY, Rate};
pub use reference::has_variable;
pub use secret::{
    Secret, Secrets, Settings, absent_secret, one_or_several, referenced_secret, secret_problem,
};
pub use signing_key::{SigningKey, SigningKeys};
pub use span::{Moment, Period, Span, Window};
