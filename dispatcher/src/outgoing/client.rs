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

/// How long an unused connection is kept. Shorter than the 30 to 75 seconds after which most
/// servers close it: a request written into a connection that is just being closed is never
/// answered.
const IDLE: Duration = Duration::from_secs(20);

/// How providers are recognised: by the platform's root certificates, read when they are first
/// needed. Clones share them; a copy for each of a thousand backends would be a hundred megabytes.
#[derive(Debug, Clone, Default)]
pub struct ClientTls(Arc<OnceLock<Result<ClientConfig, String>>>);

impl ClientTls {
    /// Of one provider: as `tls` says, whose files are read.
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

/// For URLs that need no TLS: it trusts nobody.
fn for_http() -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// The one crypto provider of the process, for whatever else makes TLS connections in it too.
fn provider() -> Arc<CryptoProvider> {
    let ring = rustls::crypto::ring::default_provider();
    let _ = ring.clone().install_default();
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(ring))
}

/// A client with a pool of its own: what one backend's provider does to its connections is no
/// other's concern. It follows no redirect, keeps no cookie and ignores the environment's
/// `HTTP_PROXY`: messages go where the configuration says and nowhere else. Without `tls`, it can
/// make plain connections only.
///
/// # Errors
/// A text for the user.
pub(crate) fn client(timeout: Duration, tls: Option<&ClientTls>) -> Result<Client, String> {
    build(builder(timeout, tls)?)
}

/// The same by way of `proxy`, which `https` URLs are reached through by CONNECT.
///
/// # Errors
/// A text for the user.
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
/// What is wrong with it, without what stands in it.
pub(crate) fn proxy(url: &Secret) -> Result<Proxy, String> {
    let why = "must be the URL of an HTTP proxy, such as http://user:password@proxy.example.org:3128";
    let parsed = Url::parse(url.expose()).map_err(|_| why.to_owned())?;
    let is_bare = matches!(parsed.path(), "" | "/") && parsed.query().is_none();
    if !matches!(parsed.scheme(), "http" | "https") || !parsed.has_host() || !is_bare {
        return Err(why.to_owned());
    }
    Proxy::all(parsed).map_err(|_| why.to_owned())
}

/// The same, for URLs that others have chosen: names lead only where `reach` says. Numbers are
/// connected to as they are: whoever has such a URL asks `EgressPolicy::url` first.
///
/// # Errors
/// A text for the user.
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
        // A sloppy answer is an answer: the message was sent, and must not be sent again for it.
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http1_ignore_invalid_headers_in_responses(true)
        .pool_idle_timeout(IDLE)
        .tcp_keepalive(Duration::from_secs(60))
        // Shorter than the whole: a time-out while connecting wrote nothing.
        .connect_timeout(timeout / 2))
}
