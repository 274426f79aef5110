//! TLS on our own listeners: one certificate and its key, in files that may change while the program runs.
//! Also says when any certificate expires.

use postern_config::{FilesDigest, TlsFiles, TlsProblem};
use prometheus::IntGauge;
use rustls::{
    Error, ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use x509_cert::{Certificate, der::Decode as _};

/// How often the files are read.
const LOOK: Duration = Duration::from_secs(5);

/// A listener's TLS.
#[derive(Debug)]
pub struct Tls {
    /// The section that names the files, for the log.
    section: &'static str,
    files: TlsFiles,
    current: Arc<ShownCertificate>,
    /// The digest of the files that `current` was made from.
    taken: FilesDigest,
}

/// The certificate that new connections get.
#[derive(Debug)]
struct ShownCertificate(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for ShownCertificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

impl Tls {
    /// Reads the files that `section` (such as `ingress.tls`) names.
    ///
    /// # Errors
    /// [`TlsProblem`]
    pub fn load(section: &'static str, files: &TlsFiles) -> Result<Self, TlsProblem> {
        let (taken, key) = files.read();
        let current = Arc::new(ShownCertificate(RwLock::new(Arc::new(key?))));
        Ok(Self { section, files: files.clone(), current, taken })
    }

    /// The configuration of a server: TLS 1.2 and 1.3, HTTP/1.1, no client certificates.
    ///
    /// # Errors
    /// Never in practice: the library does not have these versions.
    pub fn server(&self) -> Result<ServerConfig, Error> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions()?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(self.current.clone());
        // Not h2: actix-http has no setting for the streams of a connection, nor for the size of their headers.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }

    /// When the first of the current certificates expires, as Unix time in seconds. `None` if one of them
    /// cannot be read.
    pub fn not_after(&self) -> Option<i64> {
        not_after(&self.current.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the files every few seconds, until the future is dropped, and shows in `ends`, if there is
    /// one, when the certificate expires. New connections get a new certificate if it is valid; else the old
    /// one stays. An invalid certificate is logged once, when it has been read twice in a row: the two files
    /// are not written at the same moment.
    pub async fn follow(self, ends: Option<IntGauge>) {
        let Self { section, files, current, mut taken } = self;
        let mut wrong: Option<(FilesDigest, bool)> = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let files = files.clone();
            let Ok((found, key)) = tokio::task::spawn_blocking(move || files.read()).await else { return };
            match (key, wrong) {
                _ if found == taken => wrong = None,
                (Ok(key), _) => {
                    if let (Some(ends), Some(end)) = (&ends, not_after(&key)) {
                        ends.set(end);
                    }
                    *current.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                    (taken, wrong) = (found, None);
                    tracing::info!(section, "new certificate in use for new connections");
                }
                (Err(TlsProblem { key, what }), Some((before, false))) if before == found => {
                    wrong = Some((found, true));
                    let key = format!("{section}.{key}");
                    tracing::error!(
                        key,
                        error = what,
                        "new certificate not used, the previous one stays in use"
                    );
                }
                (Err(_), Some((before, true))) if before == found => {}
                (Err(_), _) => wrong = Some((found, false)),
            }
        }
    }
}

/// When the first of the certificates of `key` expires, as Unix time in seconds. `None` if one of them
/// cannot be read.
pub fn not_after(key: &CertifiedKey) -> Option<i64> {
    let ends = key.cert.iter().map(|der| {
        let certificate = Certificate::from_der(der).ok()?;
        let end = certificate.tbs_certificate.validity.not_after.to_unix_duration();
        i64::try_from(end.as_secs()).ok()
    });
    ends.collect::<Option<Vec<_>>>()?.into_iter().min()
}
