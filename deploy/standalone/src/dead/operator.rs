//! The name of the person who gives a command, for the log.

use postern_service::control::this_machine;
use std::{fs, os::unix::fs::MetadataExt};

/// `user@host`, or `uid N@host` if the environment does not name the user. Nothing proves that the name is
/// true.
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
