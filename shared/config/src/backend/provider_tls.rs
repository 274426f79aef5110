//! TLS to a provider that the system's certificates are not enough for: `[backends.NAME.send]`, `tls`.

use crate::tls_files::{TlsFiles, TlsProblem, certificates};
use rustls::{pki_types::CertificateDer, sign::CertifiedKey};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Whose certificates a provider may show, and which one is shown to it. The files are read when the backend is
/// made ready, at the start and at a reload.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderTls {
    /// The certificates, as PEM, of which one must have issued the provider's. `None`: one that the system trusts.
    pub ca: Option<PathBuf>,
    /// The certificate that is shown to the provider and those between it and the root, in this order, as PEM.
    pub cert: Option<PathBuf>,
    /// Its private key, as PEM.
    pub key: Option<PathBuf>,
}

impl ProviderTls {
    /// The files, by the keys that name them.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let all = [("ca", &self.ca), ("cert", &self.cert), ("key", &self.key)];
        all.into_iter().filter_map(|(key, file)| Some((key, file.as_deref()?)))
    }

    /// The certificates that are trusted in place of the system's. `None`: the system's are.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn roots(&self) -> Result<Option<Vec<CertificateDer<'static>>>, TlsProblem> {
        let read = |path: &PathBuf| {
            certificates("ca", path, "of the authority that issued the provider's certificate")
        };
        self.ca.as_ref().map(read).transpose()
    }

    /// What is shown to the provider. `None`: nothing.
    ///
    /// # Errors
    /// What is wrong with one of the files.
    pub fn shown(&self) -> Result<Option<CertifiedKey>, TlsProblem> {
        let Some((cert, key)) = self.cert.clone().zip(self.key.clone()) else { return Ok(None) };
        TlsFiles { cert, key }.read().1.map(Some)
    }

    /// What is wrong beyond the types: a key below `send`, and why.
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
