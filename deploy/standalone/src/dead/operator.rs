//! Who gives the command, for the log.

use postern_service::control::this_machine;
use std::{fs, os::unix::fs::MetadataExt};

/// `user@host`. A user whose name the environment does not say is `uid N`. It proves nothing.
pub(super) fn name(user: Option<&str>) -> String {
    let named = user.filter(|user| !user.is_empty()).map(str::to_owned);
    let user = named.unwrap_or_else(|| match fs::metadata("/proc/self") {
        Ok(process) => format!("uid {}", process.uid()),
        Err(_) => "somebody".to_owned(),
    });
    format!("{user}@{}", this_machine())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_named_in_any_case() {
        assert!(name(Some("ann")).starts_with("ann"));
        assert!(name(None).starts_with("uid ") && name(Some("")) == name(None));
    }
}
