//! Where a secret is stored, if it is not written in the configuration itself.

use serde_json::Value;
use std::{
    ffi::OsString,
    fmt::{self, Display, Formatter},
    io::ErrorKind,
    path::Path,
};

/// The variable in which systemd names the folder with a unit's credentials.
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// A place for a secret outside the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretSource<'v> {
    /// `{ env = "NAME" }`
    Variable(&'v str),
    /// `{ file = "PATH" }`
    File(&'v str),
    /// `{ credential = "NAME" }`: a credential that systemd gives to the unit.
    Credential(&'v str),
}

impl<'v> SecretSource<'v> {
    /// The source that `value` names. `None` if it names none.
    pub(super) fn of(value: &'v Value) -> Option<Self> {
        let table = value.as_object().filter(|table| table.len() == 1)?;
        let (key, name) = table.iter().next()?;
        let name = name.as_str()?;
        match key.as_str() {
            "env" => Some(Self::Variable(name)),
            "file" => Some(Self::File(name)),
            "credential" => Some(Self::Credential(name)),
            _ => None,
        }
    }

    /// Reads the secret. A file or a credential is read without the line breaks at its end.
    ///
    /// # Errors
    /// Why it cannot be read, and what to do.
    #[expect(clippy::disallowed_methods, reason = "a secret's own variable, which its key names")]
    pub(super) fn read(self) -> Result<String, String> {
        match self {
            Self::Variable(name) => {
                std::env::var(name).map_err(|_| format!("{self} is not set (or not UTF-8)"))
            }
            Self::File(path) => read(Path::new(path)).map_err(|error| {
                let hint = credential_in(path).map(|name| {
                    format!("; for a credential of systemd, write {{ credential = \"{name}\" }}")
                });
                format!("{self} cannot be read: {error}{}", hint.unwrap_or_default())
            }),
            Self::Credential(name) => credential(name, std::env::var_os(DIRECTORY)),
        }
    }

    /// Whether the source can exist, on this machine or another: a credential's name may be impossible.
    pub(super) fn is_possible(self) -> bool {
        !matches!(self, Self::Credential(name) if !is_credential_name(name))
    }
}

impl Display for SecretSource<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {path}"),
            Self::Credential(name) => write!(f, "the credential {name}"),
        }
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    std::fs::read_to_string(path).map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
}

/// Reads the credential `name` in `directory`.
///
/// # Errors
/// See [`SecretSource::read`].
fn credential(name: &str, directory: Option<OsString>) -> Result<String, String> {
    if !is_credential_name(name) {
        return Err(format!(
            "the credential \"{name}\" cannot exist: a credential's name is a file name without `/` and `:`, \
             as in LoadCredential=NAME:PATH"
        ));
    }
    let loaded = format!("LoadCredential={name}:PATH");
    let Some(directory) = directory.filter(|directory| !directory.is_empty()) else {
        return Err(format!(
            "the credential {name} does not exist: {DIRECTORY} is not set; systemd sets it for a unit with \
             {loaded}. Outside the unit, set {DIRECTORY} to a folder that has a file of this name; `postern check` also takes --without-secrets"
        ));
    };
    read(&Path::new(&directory).join(name)).map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!(
            "the credential {name} does not exist: the unit has no credential of this name. Add {loaded} to \
             the unit (`systemctl edit UNIT`), and restart it"
        ),
        _ => format!("the credential {name} cannot be read: {error}"),
    })
}

/// Whether `name` can be the name of a systemd credential.
fn is_credential_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && name.len() < 256 && !name.contains(['/', ':']) && name.is_ascii()
}

/// The name of the credential whose path `text` is, as systemd writes the path. `None` for any other text.
pub(super) fn credential_in(text: &str) -> Option<&str> {
    let starts = ["${CREDENTIALS_DIRECTORY}/", "$CREDENTIALS_DIRECTORY/", "%d/"];
    let name = starts.into_iter().find_map(|start| text.strip_prefix(start))?;
    is_credential_name(name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_a_file_in_the_folder_that_systemd_names() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("api-key"), "hush\n").unwrap();
        std::fs::create_dir(folder.path().join("folder")).unwrap();
        let directory = || Some(folder.path().into());
        assert_eq!(credential("api-key", directory()).unwrap(), "hush");
        for (name, directory, says) in [
            (
                "key",
                directory(),
                "no credential of this name. Add LoadCredential=key:PATH to the unit (`systemctl edit",
            ),
            ("key", None, "CREDENTIALS_DIRECTORY is not set"),
            ("key", Some(OsString::new()), "with LoadCredential=key:PATH"),
            ("folder", directory(), "cannot be read: "),
            ("../api-key", directory(), "cannot exist"),
            ("a:b", directory(), "without `/` and `:`"),
            ("..", directory(), "cannot exist"),
            ("", None, "cannot exist"),
        ] {
            let why = credential(name, directory).unwrap_err();
            assert!(why.contains(says) && !why.contains("hush"), "{name}: {why}");
        }
    }

    #[test]
    fn the_path_of_a_credential_is_known_for_one() {
        for (text, name) in [
            ("%d/key", Some("key")),
            ("$CREDENTIALS_DIRECTORY/key", Some("key")),
            ("${CREDENTIALS_DIRECTORY}/key", Some("key")),
            ("/run/credentials/key", None),
            ("%d/", None),
            ("%d", None),
        ] {
            assert_eq!(credential_in(text), name, "{text}");
        }
        let why = SecretSource::File("%d/key").read().unwrap_err();
        assert!(why.ends_with("write { credential = \"key\" }"), "{why}");
    }
}
