//! TLS on our own listeners: one certificate and its key, in files that may change while we run.

use crate::config::TlsFiles;
use rustls::{
    Error, InconsistentKeys, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use sha2::{Digest, Sha256};
use std::{
    io,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What is wrong with one of the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsProblem {
    /// `cert` or `key`.
    pub key: &'static str,
    /// What it is, with the file's name.
    pub what: String,
}

impl TlsProblem {
    /// As errors at the start say it: `ingress.tls.cert: …`.
    pub fn of(self, section: &str) -> String {
        format!("{section}.{}: {}", self.key, self.what)
    }
}

/// A listener's TLS.
#[derive(Debug)]
pub struct Tls {
    /// The section that names the files, for the log.
    section: &'static str,
    files: TlsFiles,
    current: Arc<Current>,
    /// Of what `current` was made.
    taken: Fingerprint,
}

/// The certificate that new connections are shown.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// What the files hold, or why they cannot be read.
type Fingerprint = [u8; 32];

impl Tls {
    /// Reads the files that `section` (such as `ingress.tls`) names.
    ///
    /// # Errors
    /// [`TlsProblem`]
    pub fn load(section: &'static str, files: &TlsFiles) -> Result<Self, TlsProblem> {
        let (taken, key) = read(files);
        let current = Arc::new(Current(RwLock::new(Arc::new(key?))));
        Ok(Self { section, files: files.clone(), current, taken })
    }

    /// For a server: TLS 1.2 and 1.3, no client certificates.
    ///
    /// # Errors
    /// Never in practice: the library has no such version.
    pub fn server(&self) -> Result<ServerConfig, Error> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?;
        Ok(builder.with_no_client_auth().with_cert_resolver(self.current.clone()))
    }

    /// Looks at the files every few seconds, for ever. A new certificate that is right is shown to
    /// new connections from then on. One that is wrong is said in the log once, and the old one
    /// stays: twice in a row, that is, since the two files are not written at the same moment.
    pub async fn follow(self) {
        let Self { section, files, current, mut taken } = self;
        let mut wrong: Option<(Fingerprint, bool)> = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let files = files.clone();
            let Ok((found, key)) = tokio::task::spawn_blocking(move || read(&files)).await else { return };
            match (key, wrong) {
                _ if found == taken => wrong = None,
                (Ok(key), _) => {
                    *current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                    (taken, wrong) = (found, None);
                    tracing::info!(section, "new connections are shown the new certificate");
                }
                (Err(TlsProblem { key, what }), Some((before, false))) if before == found => {
                    wrong = Some((found, true));
                    tracing::error!(
                        "{section}.{key}: {what}; the certificate that was there before stays in use"
                    );
                }
                (Err(_), Some((before, true))) if before == found => {}
                (Err(_), _) => wrong = Some((found, false)),
            }
        }
    }
}

fn read(files: &TlsFiles) -> (Fingerprint, Result<CertifiedKey, TlsProblem>) {
    let (cert, key) = (std::fs::read(&files.cert), std::fs::read(&files.key));
    let mut hash = Sha256::new();
    for file in [&cert, &key] {
        match file {
            Ok(bytes) => hash.update(Sha256::digest(bytes)),
            Err(error) => hash.update(error.to_string()),
        }
    }
    (hash.finalize().into(), certified(files, cert, key))
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
    let chain = chain.map_err(|_| of_cert("is no PEM text"))?;
    if chain.is_empty() {
        return Err(of_cert(
            "holds no certificate: -----BEGIN CERTIFICATE----- is needed, the server's first",
        ));
    }
    let key = PrivateKeyDer::from_pem_slice(&key);
    let key = key.map_err(|_| of_key("holds no private key: -----BEGIN PRIVATE KEY----- is needed"))?;
    let key = ring::default_provider().key_provider.load_private_key(key);
    let key = key.map_err(|_| {
        of_key("holds a key of a kind that is not known: RSA, ECDSA (P-256, P-384) and Ed25519 are")
    })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(of_key(&format!(
            "holds another key than that of the certificate in {}",
            files.cert.display()
        ))),
        Err(_) => Err(of_cert("holds a damaged certificate")),
    }
}
