//! Which secrets a configuration must have.

/// Which secrets must be there, of those that a configuration takes from environment variables and
/// files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeededSecrets {
    /// All of them: what a program needs to run.
    All,
    /// Those whose keys are listed, such as `broker.url`: what a command for one purpose needs.
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
