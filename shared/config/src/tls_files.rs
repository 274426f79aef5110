//! Certificates and their keys in PEM files: those of a listener, or client certificates for a provider.

use rustls::{
    Error, InconsistentKeys,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{
    io,
    path::{Path, PathBuf},
};

/// The files of a certificate and its key. They may change while the process runs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The file with the certificate, followed by those between it and the root (PEM).
    pub cert: PathBuf,
    /// The file with the private key (PEM).
    pub key: PathBuf,
}

/// A mistake in one of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsProblem {
    /// The key that names the file, such as `cert` or `key`.
    pub key: &'static str,
    /// The mistake, with the file's name.
    pub what: String,
}

impl TlsProblem {
    /// The problem as errors at the start show it: `ingress.tls.cert: …`.
    pub fn of(self, section: &str) -> String {
        format!("{section}.{}: {}", self.key, self.what)
    }
}

/// A digest of the files' contents, or of why they cannot be read. It changes when these change.
pub type FilesDigest = [u8; 32];

/// The certificates in the PEM file at `path`, at least one. `role` says for errors what they are.
///
/// # Errors
/// What is wrong with the file, with the key `key` that names it.
pub(crate) fn certificates(
    key: &'static str,
    path: &Path,
    role: &str,
) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
    let wrong = |what: &str| TlsProblem { key, what: format!("the file {} {what}", path.display()) };
    let pem = std::fs::read(path).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let all = all.map_err(|_| wrong("is not PEM text"))?;
    if all.is_empty() {
        return Err(wrong(&format!(
            "contains no certificate: -----BEGIN CERTIFICATE----- is needed, {role}"
        )));
    }
    Ok(all)
}

impl TlsFiles {
    /// The files, by the keys that name them.
    pub(crate) fn files(&self) -> [(&'static str, &Path); 2] {
        [("cert", &self.cert), ("key", &self.key)]
    }

    /// Reads both files. Returns the digest of their contents, and the certificate or why there is none.
    pub fn read(&self) -> (FilesDigest, Result<CertifiedKey, TlsProblem>) {
        let (cert, key) = (std::fs::read(&self.cert), std::fs::read(&self.key));
        let mut hash = Sha256::new();
        for file in [&cert, &key] {
            match file {
                Ok(bytes) => hash.update(Sha256::digest(bytes)),
                Err(error) => hash.update(error.to_string()),
            }
        }
        (hash.finalize().into(), certified(self, cert, key))
    }
}

fn certified(
    files: &TlsFiles,
    cert: io::Result<Vec<u8>>,
    key: io::Result<Vec<u8>>,
) -> Result<CertifiedKey, TlsProblem> {
    let wrong = |key, path: &Path, what: &str| {
        let what = format!("the file {} {what}", path.display());
        TlsProblem { key, what }
    };
    let of_cert = |what: &str| wrong("cert", &files.cert, what);
    let of_key = |what: &str| wrong("key", &files.key, what);
    let cert = cert.map_err(|error| of_cert(&format!("cannot be read: {error}")))?;
    let key = key.map_err(|error| of_key(&format!("cannot be read: {error}")))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&cert).collect();
    let chain = chain.map_err(|_| of_cert("is not PEM text"))?;
    if chain.is_empty() {
        return Err(of_cert(
            "contains no certificate: -----BEGIN CERTIFICATE----- is needed, the server's first",
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(&key);
    let key = key.map_err(|_| of_key("contains no private key: -----BEGIN PRIVATE KEY----- is needed"))?;
    let key = ring::default_provider().key_provider.load_private_key(key);
    let key = key.map_err(|_| {
        of_key("contains a key of an unknown kind: RSA, ECDSA (P-256, P-384) and Ed25519 are supported")
    })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(of_key(&format!(
            "contains a key that does not belong to the certificate in {}",
            files.cert.display()
        ))),
        Err(_) => Err(of_cert("contains a damaged certificate")),
    }
}
