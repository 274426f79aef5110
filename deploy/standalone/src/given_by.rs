//! Who gives a command, for the logs.

use clap::Args;
use postern_service::control::this_machine;
use std::{fs, os::unix::fs::MetadataExt};

/// The option that names the person who gives a command.
#[derive(Debug, Clone, Args)]
pub(crate) struct GivenBy {
    /// Who gives the command, for the logs
    #[arg(long, value_name = "NAME", env = "USER", hide_env_values = true)]
    by: Option<String>,
}

impl GivenBy {
    /// `name@machine`, or `uid N@machine` if neither an option nor the environment names the person. Nothing
    /// proves that the name is true.
    pub(crate) fn name(&self) -> String {
        let named = self.by.as_ref().filter(|name| !name.is_empty()).cloned();
        let name = named.unwrap_or_else(|| match fs::metadata("/proc/self") {
            Ok(process) => format!("uid {}", process.uid()),
            Err(_) => "somebody".to_owned(),
        });
        format!("{name}@{}", this_machine())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_named_in_any_case() {
        let name = |by: Option<&str>| GivenBy { by: by.map(str::to_owned) }.name();
        assert!(name(Some("ann")).starts_with("ann@"));
        assert!(name(None).starts_with("uid ") && name(Some("")) == name(None));
    }
}
