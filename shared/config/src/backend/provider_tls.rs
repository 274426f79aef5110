//! TLS to a provider with a private CA or client certificates: `[backends.NAME.send]`, `tls`.

use crate::tls_files::{TlsFiles, TlsProblem, certificates};
use rustls::{pki_types::CertificateDer, sign::CertifiedKey};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The CA that a provider's certificate must come from, and the client certificate for it. The files are read when
/// the backend is prepared, at the start and at a reload.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderTls {
    /// The file of CA certificates (PEM), one of which must have issued the provider's. `None`: those that the
    /// system trusts.
    pub ca: Option<PathBuf>,
    /// The file with the client certificate, followed by those between it and the root (PEM).
    pub cert: Option<PathBuf>,
    /// The file with the client certificate's private key (PEM).
    pub key: Option<PathBuf>,
}

impl ProviderTls {
    /// The files, by the keys that name them.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let all = [("ca", &self.ca), ("cert", &self.cert), ("key", &self.key)];
        all.into_iter().filter_map(|(key, file)| Some((key, file.as_deref()?)))
    }

    /// The certificates that are trusted instead of the system's. `None`: the system's are trusted.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn roots(&self) -> Result<Option<Vec<CertificateDer<'static>>>, TlsProblem> {
        let read = |path: &PathBuf| {
            certificates("ca", path, "of the authority that issued the provider's certificate")
        };
        self.ca.as_ref().map(read).transpose()
    }

    /// The client certificate for the provider, with its key. `None` if none is configured.
    ///
    /// # Errors
    /// What is wrong with one of the files.
    pub fn shown(&self) -> Result<Option<CertifiedKey>, TlsProblem> {
        let Some((cert, key)) = self.cert.clone().zip(self.key.clone()) else { return Ok(None) };
        TlsFiles { cert, key }.read().1.map(Some)
    }

    /// The mistakes that the types do not rule out: a key below `send`, and what is wrong.
    pub(super) fn problems(&self) -> Vec<(String, String)> {
        let (key, why) = match (&self.ca, &self.cert, &self.key) {
            (None, None, None) => ("tls", "is empty: set ca, or cert and key"),
            (_, Some(_), None) => ("tls.key", "is missing: the private key of tls.cert"),
            (_, None, Some(_)) => ("tls.cert", "is missing: the certificate of tls.key"),
            _ => return Vec::new(),
        };
        vec![(key.to_owned(), why.to_owned())]
    }
}
