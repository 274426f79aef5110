//! The secrets that a configuration must have.

/// The secrets that must be there, of all that a configuration takes from environment variables and files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeededSecrets {
    /// All secrets: a running program needs them.
    All,
    /// The secrets with these keys, such as `broker.url`, for a command that needs no others.
    Of(&'static [&'static str]),
}

impl NeededSecrets {
    /// Whether the secret at `key` must be there.
    pub(crate) fn contains(self, key: &str) -> bool {
        match self {
            Self::All => true,
            Self::Of(keys) => keys.contains(&key),
        }
    }
}
