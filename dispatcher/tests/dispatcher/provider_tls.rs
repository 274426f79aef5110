//! The connection to a provider: a server that asks for a client certificate and has one that the system
//! does not know, and a proxy that wants a password.

use crate::{
    provider::{Provider, answer},
    setup::{Running, demo, validated},
};
use postern_dispatcher::connectors::{
    Backend, ConnectorRegistry,
    http::{ClientTls, Http},
};
use postern_shared::{
    error::{Failure, FailureClass},
    message::{Context, Identity},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{net::SocketAddr, path::Path, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

const ID: &str = "0199b2a5-0000-7000-8000-000000000001";

/// A certificate authority for tests.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// A certificate for `name` and its key, as PEM.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.0).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    /// Writes the three files of a client called `name` to `folder`.
    fn write(&self, folder: &Path, name: &str) {
        let (cert, key) = self.issue(name);
        for (file, text) in [("ca", self.0.pem()), ("cert", cert), ("key", key)] {
            std::fs::write(folder.join(format!("{file}.pem")), text).unwrap();
        }
    }
}

/// Reads the lines up to the blank one.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Vec<String> {
    let (mut lines, mut reader) = (Vec::new(), BufReader::with_capacity(1, stream));
    loop {
        let mut line = String::new();
        let read = reader.read_line(&mut line).await.unwrap_or_default();
        if read == 0 || line == "\r\n" {
            return lines;
        }
        lines.push(line.trim_end().to_owned());
    }
}

/// A provider that speaks TLS, but only with clients that show a certificate of `authority`. It answers
/// 200.
async fn provider(authority: &Authority, serving: &mut JoinSet<()>) -> SocketAddr {
    let (cert, key) = authority.issue("localhost");
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let config = config.with_client_cert_verifier(verifier.build().unwrap());
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    serving.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = match acceptor.accept(stream).into_fallible().await {
                Ok(stream) => stream,
                Err((_, mut stream)) => {
                    // If it were closed with unread bytes, the connection would be reset, and the reason
                    // lost.
                    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                    continue;
                }
            };
            head(&mut stream).await;
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    });
    address
}

/// A proxy that connects clients with the user `u` and the password `p&w` to `localhost`, and returns what
/// it was asked.
async fn proxy(serving: &mut JoinSet<()>) -> (SocketAddr, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = tokio::sync::mpsc::channel(8);
    serving.spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let head = head(&mut stream).await;
            let mut words = head.first().map(String::as_str).unwrap_or_default().split(' ');
            let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let shown = head.iter().find_map(|line| {
                line.to_ascii_lowercase()
                    .starts_with("proxy-authorization:")
                    .then(|| line[20..].trim().to_owned())
            });
            tell.send(format!("{method} {target}")).await.unwrap();
            if shown.as_deref() != Some("Basic dTpwJnc=") {
                let _ = stream.write_all(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n").await;
                continue;
            }
            let port = target.rsplit(':').next().unwrap().parse::<u16>().unwrap();
            let Ok(mut upstream) = TcpStream::connect(("127.0.0.1", port)).await else {
                let _ = stream.write_all(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n").await;
                continue;
            };
            stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.unwrap();
            let _ = copy_bidirectional(&mut stream, &mut upstream).await;
        }
    });
    (address, told)
}

/// A backend that sends to `url`, with `more` in its table.
fn backend(url: &str, more: &str) -> Result<Http, Vec<(String, String)>> {
    let table = format!(
        "url = \"{url}\"\nform = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n{more}"
    );
    Http::new(&demo(&table), &ClientTls::default())
}

async fn send(http: &Http) -> Result<(), Failure> {
    let identity: Identity = "+1555".parse().unwrap();
    let outcomes = http.send(ID.parse().unwrap(), "hi", &[identity], &Context::default()).await;
    outcomes.into_each(1).remove(0).map(|_| ())
}

fn told(failure: &Failure) -> (FailureClass, &str, &str) {
    let reason = failure.unreached.as_ref().map_or("", |unreached| unreached.reason);
    (failure.class, &failure.code, reason)
}

/// The table `tls` with each of `names` as a key, for the file of that name in `folder`.
fn tls(folder: &Path, names: &[&str]) -> String {
    let file = |name: &&str| format!("{name} = \"{}\"", folder.join(format!("{name}.pem")).display());
    format!("tls = {{ {} }}\n", names.iter().map(file).collect::<Vec<_>>().join(", "))
}

#[tokio::test]
async fn a_provider_is_known_by_its_own_authority_and_shown_a_certificate() {
    let (ours, other) = (Authority::new("ours"), Authority::new("another"));
    let mut serving = JoinSet::new();
    let url = format!("https://localhost:{}/send", provider(&ours, &mut serving).await.port());
    let folder = tempfile::tempdir().unwrap();
    ours.write(folder.path(), "postern");
    let http = backend(&url, &tls(folder.path(), &["ca", "cert", "key"])).unwrap();
    send(&http).await.unwrap();

    let unknown = send(&backend(&url, "").unwrap()).await.unwrap_err();
    let untrusted = "TLS certificate not trusted: unknown issuer";
    assert_eq!(told(&unknown), (FailureClass::Transient, "connect", untrusted));
    let nothing_shown = send(&backend(&url, &tls(folder.path(), &["ca"])).unwrap()).await.unwrap_err();
    let asked = "TLS failed: the host requires a client certificate";
    assert_eq!(told(&nothing_shown), (FailureClass::Config, "client_certificate", asked));

    // A certificate of another authority: the files have changed, and a reload makes a new backend.
    let (cert, key) = other.issue("postern");
    std::fs::write(folder.path().join("cert.pem"), cert).unwrap();
    std::fs::write(folder.path().join("key.pem"), key).unwrap();
    let refused = backend(&url, &tls(folder.path(), &["ca", "cert", "key"])).unwrap();
    let refused = send(&refused).await.unwrap_err();
    assert_eq!((refused.class, &*refused.code), (FailureClass::Config, "client_certificate"));
    send(&http).await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_told_before_anything_is_sent() {
    let folder = tempfile::tempdir().unwrap();
    Authority::new("ours").write(folder.path(), "postern");
    for (file, text, key, says) in [
        ("ca.pem", Some("no PEM"), "send.tls.ca", "contains no certificate"),
        ("key.pem", Some("no PEM"), "send.tls.key", "contains no private key"),
        ("cert.pem", None, "send.tls.cert", "cannot be read: No such file"),
    ] {
        let path = folder.path().join(file);
        let before = std::fs::read(&path).unwrap();
        match text {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let problems = backend("https://h/", &tls(folder.path(), &["ca", "cert", "key"])).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].0 == key && problems[0].1.contains(says), "{problems:?}");
        std::fs::write(&path, before).unwrap();
    }
    let (_, other) = Authority::new("another").issue("postern");
    std::fs::write(folder.path().join("key.pem"), other).unwrap();
    let problems = backend("https://h/", &tls(folder.path(), &["cert", "key"])).unwrap_err();
    assert!(problems[0].1.contains("a key that does not belong to the certificate"), "{problems:?}");
}

#[tokio::test]
async fn requests_go_by_the_proxy_and_its_password_stays_secret() {
    let authority = Authority::new("ours");
    let mut serving = JoinSet::new();
    let port = provider(&authority, &mut serving).await.port();
    let (proxy, mut asked) = proxy(&mut serving).await;
    let folder = tempfile::tempdir().unwrap();
    authority.write(folder.path(), "postern");
    let url = format!("https://localhost:{port}/send");
    let by = |user: &str, url: &str| {
        let more =
            format!("proxy = \"http://{user}@{proxy}\"\n{}", tls(folder.path(), &["ca", "cert", "key"]));
        backend(url, &more).unwrap()
    };
    send(&by("u:p%26w", &url)).await.unwrap();
    assert_eq!(asked.recv().await.unwrap(), format!("CONNECT localhost:{port}"));
    let refused = send(&by("u:hush", &url)).await.unwrap_err();
    let reason = "the proxy refused the user name and password";
    assert_eq!(told(&refused), (FailureClass::Config, "http_407", reason));
    assert!(!format!("{refused:?}").contains("hush"));
    let closed = send(&by("u:p%26w", "https://localhost:1/")).await.unwrap_err();
    assert_eq!(told(&closed), (FailureClass::Transient, "connect", "the proxy refused the connection"));

    // A proxy gets the whole URL of a request without TLS.
    let plain = Provider::answering(answer(200, "")).await;
    let more = format!("proxy = \"{}\"\n", plain.url.replace("http://", "http://u:p%26w@"));
    send(&backend("http://sms.invalid/send", &more).unwrap()).await.unwrap();
    let request = plain.received().remove(0);
    assert_eq!(request.line, "POST http://sms.invalid/send HTTP/1.1");
    assert_eq!(request.header("proxy-authorization"), Some("Basic dTpwJnc="));

    for wrong in ["hush:3128", "socks5://h:1", "http://h/path", "http://h/?q"] {
        let problems = backend("http://h/", &format!("proxy = \"{wrong}\"\n")).unwrap_err();
        assert_eq!(problems[0].0, "send.proxy", "{wrong}");
        assert!(problems[0].1.contains("URL of an HTTP proxy") && !problems[0].1.contains(wrong), "{wrong}");
    }
}

#[tokio::test]
async fn when_the_certificate_that_is_shown_ends_is_a_metric_while_the_backend_has_it() {
    let folder = tempfile::tempdir().unwrap();
    Authority::new("ours").write(folder.path(), "postern");
    let config = |tls: &str| {
        format!(
            "[backends.demo]\ntype = \"http\"\n[backends.demo.send]\nurl = \"https://localhost:1/\"\n\
             form = {{ to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n{tls}"
        )
    };
    let connectors = ConnectorRegistry::builtin();
    let running = Running::start(&config(&tls(folder.path(), &["cert", "key"])), &connectors);
    // 4096-01-01, rcgen's default.
    let shown = "postern_tls_not_after_seconds{listener=\"backends.demo\"} 67090118400";
    assert!(running.metrics.text().contains(shown), "{}", running.metrics.text());
    running.reload.apply(validated(&config(""), &connectors)).await.unwrap();
    assert!(!running.metrics.text().contains("backends.demo"));
    running.stop().await;
}
