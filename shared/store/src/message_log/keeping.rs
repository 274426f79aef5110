//! What the log keeps about people: their numbers and texts, or only keyed hashes.

use super::{Keep, LogError};
use crate::sqlite::private;
use hmac::{Hmac, Mac as _};
use postern_shared::{
    event::{Content, Event},
    message::Identity,
    value::Secret,
};
use sha2::Sha256;
use std::{
    borrow::Cow,
    fmt,
    fs::{File, OpenOptions, hard_link, read_to_string, remove_file},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};
use uuid::Uuid;

/// What the log keeps of a message, and the key of the hashes that replace numbers.
#[derive(Clone)]
pub struct Keeping {
    keep: Keep,
    key: Option<HashKey>,
}

/// The key of the hashes that replace numbers. `Debug` hides it.
#[derive(Clone)]
pub struct HashKey(Hmac<Sha256>);

/// The prefix of a hashed identity, so that it is not taken for a number.
const HASHED: &str = "hmac:";

/// The name of the file with a random key, in the same folder as the log's file.
const KEY_FILE: &str = "log-hash.key";

impl Keeping {
    /// Keeps everything.
    pub fn full() -> Self {
        Self { keep: Keep::Full, key: None }
    }

    /// Keeps no text, no fields, no details and no callbacks. Numbers are replaced by their hashes with `key`.
    pub fn states(key: HashKey) -> Self {
        Self { keep: Keep::States, key: Some(key) }
    }

    /// Also finds and forgets what was hashed with `key` when the log kept only states.
    #[must_use]
    pub fn with_earlier_key(self, key: HashKey) -> Self {
        Self { key: Some(key), ..self }
    }

    /// Whether texts, fields and details are kept.
    pub(super) fn words(&self) -> bool {
        self.keep == Keep::Full
    }

    /// The identity as a row holds it.
    pub(super) fn identity<'a>(&self, identity: &'a Identity) -> Cow<'a, str> {
        match (self.keep, &self.key) {
            (Keep::States, Some(key)) => Cow::Owned(key.hash(identity)),
            _ => Cow::Borrowed(identity.as_str()),
        }
    }

    /// Every form in which rows may hold the identity: a change of `log.keep` does not change existing rows.
    pub(super) fn forms(&self, identity: &Identity) -> Vec<String> {
        let hashed = self.key.iter().map(|key| key.hash(identity));
        hashed.chain([identity.as_str().to_owned()]).collect()
    }

    /// Every form in which rows may hold the phone number `identity` in any of its spellings. Empty if `identity`
    /// is not a phone number.
    pub(super) fn spellings(&self, identity: &Identity) -> Vec<String> {
        identity.spellings().iter().flat_map(|spelling| self.forms(spelling)).collect()
    }

    /// The text as a row holds it.
    pub(super) fn text<'a>(&self, content: &'a Content) -> Option<&'a str> {
        content.text.as_deref().filter(|_| self.words())
    }

    /// The fields as a row holds them: a JSON object.
    pub(super) fn fields(&self, content: &Content) -> Option<String> {
        let kept = self.words() && !content.fields.is_empty();
        kept.then(|| serde_json::to_string(&content.fields).unwrap_or_default())
    }

    /// The callbacks that a client asked for, as a row holds them. Their address may hold a number.
    pub(super) fn callback<'a>(&self, event: &'a Event) -> Option<&'a str> {
        event.callback.as_deref().filter(|_| self.words())
    }

    /// The fingerprint of a client's request, as a row holds it. If it were not hashed with the key, a reader
    /// of the row could find the number and the text by trying.
    pub(super) fn fingerprint<'a>(&self, fingerprint: &'a str) -> Cow<'a, str> {
        match (self.keep, &self.key) {
            (Keep::States, Some(key)) => Cow::Owned(key.fingerprint(fingerprint)),
            _ => Cow::Borrowed(fingerprint),
        }
    }

    /// Whether `kept`, the value in a row, is this fingerprint in any of its forms.
    pub(super) fn is_fingerprint(&self, kept: &str, fingerprint: &str) -> bool {
        kept == fingerprint || self.key.as_ref().is_some_and(|key| key.fingerprint(fingerprint) == kept)
    }

    /// The failure's detail as a row holds it. It may quote a number or a text.
    pub(super) fn detail<'a>(&self, event: &'a Event) -> Option<&'a str> {
        event.detail.as_deref().filter(|_| self.words())
    }

    /// The value by which the log checks that it is opened with the same key again. It does not reveal the key.
    pub(super) fn key_check(&self) -> Option<String> {
        self.key.as_ref().map(|key| key.digest("postern message log"))
    }
}

/// Whether a row's identity is a hash.
pub(super) fn is_hashed(identity: &str) -> bool {
    identity.starts_with(HASHED)
}

impl HashKey {
    /// The key that `log.hash_key` names.
    pub fn new(secret: &Secret) -> Self {
        Self::of(secret.expose().as_bytes())
    }

    /// The random key in the file `log-hash.key` of `folder`. If the file is missing, it is created, readable
    /// for its owner only. With this key, somebody can find the number behind a hash by trying every number.
    ///
    /// # Errors
    /// [`LogError::Broken`] if the file can be neither read nor created, or is empty.
    pub fn in_folder(folder: &Path) -> Result<Self, LogError> {
        let path = Self::file_in(folder);
        private(folder).map_err(|e| unusable(&path, &e))?;
        if let Some(key) = Self::found_in(folder)? {
            return Ok(key);
        }
        make_key(folder, &path).map_err(|e| unusable(&path, &e))?;
        Self::found_in(folder)?.ok_or_else(|| unusable(&path, &"it was removed"))
    }

    /// The key in the file `log-hash.key` of `folder`. `None` if there is no file; it is not created.
    ///
    /// # Errors
    /// [`LogError::Broken`] if the file cannot be read, or is empty.
    pub fn found_in(folder: &Path) -> Result<Option<Self>, LogError> {
        let path = Self::file_in(folder);
        match read_to_string(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(unusable(&path, &e)),
            Ok(key) if key.trim().is_empty() => Err(unusable(&path, &"it is empty")),
            Ok(key) => Ok(Some(Self::of(key.trim().as_bytes()))),
        }
    }

    /// The path of the file with a random key in `folder`.
    pub fn file_in(folder: &Path) -> PathBuf {
        folder.join(KEY_FILE)
    }

    #[expect(clippy::expect_used, reason = "HMAC takes a key of any length (RFC 2104)")]
    fn of(key: &[u8]) -> Self {
        Self(Hmac::new_from_slice(key).expect("a key of any length"))
    }

    fn hash(&self, identity: &Identity) -> String {
        format!("{HASHED}{}", self.digest(identity.as_str()))
    }

    fn fingerprint(&self, fingerprint: &str) -> String {
        format!("{HASHED}{}", self.digest(&format!("fingerprint {fingerprint}")))
    }

    /// The first 128 bits of the HMAC-SHA-256, in hexadecimal digits.
    fn digest(&self, text: &str) -> String {
        let mac = self.0.clone().chain_update(text.as_bytes()).finalize().into_bytes();
        mac.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The error for a key that cannot be used.
fn unusable(path: &Path, why: &dyn fmt::Display) -> LogError {
    let hint = "make it readable, or set log.hash_key";
    LogError::Broken(format!("cannot use the key in {}: {why}; {hint}", path.display()))
}

/// Creates a random key in the file at `path`, which appears complete or not at all. If several processes start
/// together, all read the key of the first.
fn make_key(folder: &Path, path: &Path) -> io::Result<()> {
    let own = folder.join(format!("{KEY_FILE}.{}", Uuid::new_v4().simple()));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&own)?;
    let key = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    let made = file.write_all(key.as_bytes()).and_then(|()| file.sync_all());
    let named = made.and_then(|()| match hard_link(&own, path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        named => named,
    });
    let removed = remove_file(&own);
    named.and(removed)?;
    File::open(folder)?.sync_all()
}

impl fmt::Debug for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey(…)")
    }
}

impl fmt::Debug for Keeping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeping").field("keep", &self.keep).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_hash_is_the_key_s_own_and_found_again() {
        let identity: Identity = "+15551234567".parse().unwrap();
        let key = |secret: &str| HashKey::new(&Secret::from(secret.to_owned()));
        let kept = Keeping::states(key("a")).identity(&identity).into_owned();
        assert!(is_hashed(&kept) && !kept.contains("555"));
        assert_eq!(kept, Keeping::states(key("a")).identity(&identity));
        assert_ne!(kept, Keeping::states(key("b")).identity(&identity));
        let forms = Keeping::full().with_earlier_key(key("a")).forms(&identity);
        assert_eq!(forms, [kept, "+15551234567".to_owned()]);
        assert!(!format!("{:?}", Keeping::states(key("secret"))).contains("secret"));
    }

    #[test]
    fn a_fingerprint_is_told_in_either_form() {
        let key = || HashKey::new(&Secret::from("a".to_owned()));
        let (full, states) = (Keeping::full().with_earlier_key(key()), Keeping::states(key()));
        let hashed = states.fingerprint("abc").into_owned();
        assert!(is_hashed(&hashed) && full.fingerprint("abc") == "abc");
        for keeping in [full, states] {
            assert!(keeping.is_fingerprint("abc", "abc") && keeping.is_fingerprint(&hashed, "abc"));
            assert!(!keeping.is_fingerprint(&hashed, "abd") && !keeping.is_fingerprint("abd", "abc"));
        }
    }

    #[test]
    fn a_random_key_is_made_once_and_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        assert!(HashKey::found_in(folder.path()).unwrap().is_none());
        assert!(!HashKey::file_in(folder.path()).exists(), "looking for a key creates none");
        let first = HashKey::in_folder(folder.path()).unwrap();
        assert_eq!(HashKey::found_in(folder.path()).unwrap().unwrap().digest("x"), first.digest("x"));
        assert_eq!(HashKey::in_folder(folder.path()).unwrap().digest("x"), first.digest("x"));
        let file = folder.path().join(KEY_FILE);
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::write(&file, "\n").unwrap();
        assert!(HashKey::in_folder(folder.path()).is_err());
        assert!(HashKey::found_in(folder.path()).is_err());
    }
}
