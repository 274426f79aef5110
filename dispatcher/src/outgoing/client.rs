//! The HTTP clients: of one backend, of the webhook, of the callbacks.

use super::resolve::InBounds;
use postern_config::{KeyProblem, TlsProblem, backend::provider_tls::ProviderTls};
use postern_shared::value::Secret;
use reqwest::{Client, ClientBuilder, Proxy, Url, redirect::Policy};
use rustls::{ClientConfig, RootCertStore, crypto::CryptoProvider, sign::SingleCertAndKey};
use rustls_platform_verifier::BuilderVerifierExt;
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

/// How long an unused connection is kept: less than servers keep it. A request that is written to a connection
/// which is just being closed is never answered, and nobody knows whether it was carried out. nginx waits for 75
/// seconds, Apache, Node.js and Uvicorn for 5, Gunicorn for 2. Who sends less often makes a new connection, which
/// takes far less time than a message may.
const IDLE: Duration = Duration::from_millis(1500);

/// The TLS settings with which providers are verified: the platform's root certificates, read when they are
/// first needed. Clones share them; a copy for each of a thousand backends would be a hundred megabytes.
#[derive(Debug, Clone, Default)]
pub struct ClientTls(Arc<OnceLock<Result<ClientConfig, String>>>);

impl ClientTls {
    /// The TLS settings for one provider, as `tls` says, whose files are read.
    ///
    /// # Errors
    /// The key below the backend's that is wrong, and why.
    pub(crate) fn of_provider(tls: &ProviderTls) -> Result<Self, KeyProblem> {
        let of_file = |TlsProblem { key, what }| (format!("send.tls.{key}"), what);
        let of_library = |error: rustls::Error| ("send.tls".to_owned(), format!("cannot be used: {error}"));
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.map_err(of_library)?;
        let verifying = match tls.roots().map_err(of_file)? {
            None => builder.with_platform_verifier().map_err(of_library)?,
            Some(certificates) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates {
                    let why = "contains a certificate that cannot be read";
                    roots.add(certificate).map_err(|_| ("send.tls.ca".to_owned(), why.to_owned()))?;
                }
                builder.with_root_certificates(roots)
            }
        };
        let config = match tls.shown().map_err(of_file)? {
            None => verifying.with_no_client_auth(),
            Some(shown) => verifying.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown))),
        };
        Ok(Self(Arc::new(OnceLock::from(Ok(with_protocols(config))))))
    }

    fn for_https(&self) -> Result<ClientConfig, String> {
        let read = || {
            let builder =
                ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
            Ok(with_protocols(builder?.with_platform_verifier()?.with_no_client_auth()))
        };
        let config = self.0.get_or_init(|| {
            read().map_err(|error: rustls::Error| format!("the platform's root certificates: {error}"))
        });
        config.clone()
    }
}

fn with_protocols(mut config: ClientConfig) -> ClientConfig {
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// The TLS settings for URLs that need no TLS: they trust nobody.
fn for_http() -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// The one crypto provider of the process, also for other code in it that makes TLS connections.
fn provider() -> Arc<CryptoProvider> {
    let ring = rustls::crypto::ring::default_provider();
    let _ = ring.clone().install_default();
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(ring))
}

/// A client with a separate connection pool, so that one backend's provider cannot affect the connections
/// of another. It follows no redirect, keeps no cookie and ignores the environment's `HTTP_PROXY`: messages
/// go where the configuration says and nowhere else. Without `tls`, it can make plain connections only.
///
/// # Errors
/// A text for the user that says why.
pub(crate) fn client(timeout: Duration, tls: Option<&ClientTls>) -> Result<Client, String> {
    build(builder(timeout, tls)?)
}

/// A client that connects through `proxy`, to `https` URLs by CONNECT, and is otherwise like [`client`].
///
/// # Errors
/// A text for the user that says why.
pub(crate) fn client_through(
    proxy: &Proxy,
    timeout: Duration,
    tls: Option<&ClientTls>,
) -> Result<Client, String> {
    build(builder(timeout, tls)?.proxy(proxy.clone()))
}

/// The proxy at `url`, which may hold a user and a password.
///
/// # Errors
/// What is wrong with the URL, without quoting it.
pub(crate) fn proxy(url: &Secret) -> Result<Proxy, String> {
    let why = "must be the URL of an HTTP proxy, such as http://user:password@proxy.example.org:3128";
    let parsed = Url::parse(url.expose()).map_err(|_| why.to_owned())?;
    let is_bare = matches!(parsed.path(), "" | "/") && parsed.query().is_none();
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() || !is_bare {
        return Err(why.to_owned());
    }
    Proxy::all(parsed).map_err(|_| why.to_owned())
}

/// A client for URLs that others have chosen: host names lead only where `reach` allows. IP addresses in
/// URLs are not checked here: a caller must ask `EgressPolicy::url` first.
///
/// # Errors
/// A text for the user that says why.
pub(crate) fn client_in_bounds(
    timeout: Duration,
    tls: &ClientTls,
    reach: InBounds,
) -> Result<Client, String> {
    build(builder(timeout, Some(tls))?.dns_resolver(Arc::new(reach)))
}

fn build(builder: ClientBuilder) -> Result<Client, String> {
    builder.build().map_err(|error| format!("the HTTP client cannot be created: {error}"))
}

#[expect(clippy::disallowed_methods, reason = "this is outgoing::client")]
fn builder(timeout: Duration, tls: Option<&ClientTls>) -> Result<ClientBuilder, String> {
    Ok(Client::builder()
        .tls_backend_preconfigured(tls.map_or_else(for_http, ClientTls::for_https)?)
        .user_agent(concat!("postern/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        // A sloppy answer counts: the message was sent, and must not be sent again because of it.
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .pool_idle_timeout(IDLE)
        .tcp_keepalive(Duration::from_secs(60))
        // Shorter than the whole timeout: while connecting, nothing was written.
        .connect_timeout(timeout / 2))
}
