//! TLS on the listeners, with certificates made for the test.

use postern_tests::{Launch, Metrics, Program, eventually, fetch, free_port};
use rcgen::{CertificateParams, DnType, KeyPair};
use reqwest::{Certificate, Client, Version, tls};
use std::process::Command;

const BACKEND: &str = "[backends.demo]\ntype = \"http\"\n";
const ASKED: &str = "/backends/demo?identity=1&text=a";

/// A self-signed certificate for localhost and its key, as PEM.
pub(crate) struct Made {
    pub(crate) cert: String,
    pub(crate) key: String,
}

fn make(name: &str) -> Made {
    make_for("localhost", name)
}

/// A self-signed certificate for another host.
pub(crate) fn make_for(host: &str, name: &str) -> Made {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([host.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let cert = params.self_signed(&key).unwrap();
    Made { cert: cert.pem(), key: key.serialize_pem() }
}

pub(crate) fn put(launch: &Launch, made: &Made) {
    launch.folder().write("cert.pem", &made.cert);
    launch.folder().write("key.pem", &made.key);
}

/// A client that trusts only this certificate.
fn trusting(made: &Made) -> reqwest::ClientBuilder {
    postern_tests::http_client();
    let cert = Certificate::from_pem(made.cert.as_bytes()).unwrap();
    Client::builder().tls_certs_only([cert]).timeout(std::time::Duration::from_secs(30))
}

fn url(program: &Program, path: &str) -> String {
    format!("{}{path}", program.url().replace("http://127.0.0.1", "https://localhost"))
}

/// A gateway whose ingress shows this certificate, and its launch, whose folder contains the files.
async fn showing(made: &Made) -> (Launch, Program) {
    let config = format!("[ingress]\ntls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\n{BACKEND}");
    let launch = Launch::gateway().config(&config);
    put(&launch, made);
    let postern = launch.start().await;
    (launch, postern)
}

/// The status of an answer to a client that trusts only this certificate. It connects again, since an open
/// connection keeps the certificate that it was shown.
async fn shows(program: &Program, made: &Made) -> reqwest::Result<u16> {
    let client = trusting(made).build().unwrap();
    client.get(url(program, ASKED)).send().await.map(|answer| answer.status().as_u16())
}

#[tokio::test]
async fn every_listener_speaks_tls() {
    let (api, admin) = (free_port(), free_port());
    let config = format!(
        "[ingress]\ntls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\n\
         [api]\nlisten = \"127.0.0.1:{api}\"\ntls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\n\
         [admin]\ntls = {{ cert = \"cert.pem\", key = \"key.pem\" }}\n{BACKEND}"
    );
    let launch = Launch::gateway().config(&config);
    let launch = launch.arg("--admin-listen").arg(&format!("127.0.0.1:{admin}"));
    let made = make("first");
    put(&launch, &made);
    let postern = launch.spawn();
    postern.log().wait_for("\"started\"").await;
    let said = postern.out().wait_for("operations").await;
    assert!(said.contains("https://"), "{said}");

    let client = trusting(&made).build().unwrap();
    for (port, path) in [(api, "/v1/backends"), (admin, "/readyz"), (admin, "/metrics")] {
        let reply = fetch(client.get(format!("https://localhost:{port}{path}"))).await.unwrap();
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        if path == "/metrics" {
            // 4096-01-01, the default of rcgen.
            for listener in ["admin", "api", "ingress"] {
                let ends = Metrics::parse(&reply.text)
                    .value("postern_tls_not_after_seconds", &[("listener", listener)]);
                assert!((ends - 67_090_118_400.0).abs() < 1.0, "{listener}: {ends}");
            }
        }
    }
    for most in [tls::Version::TLS_1_2, tls::Version::TLS_1_3] {
        let client = trusting(&made).tls_version_max(most).build().unwrap();
        let answer = client.get(url(&postern, ASKED)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, Version::HTTP_11), "{most:?}");
    }
    let form = client.post(url(&postern, "/backends/demo")).body("identity=1&text=b");
    let form = form.header("Content-Type", "application/x-www-form-urlencoded").send().await.unwrap();
    assert_eq!((form.status().as_u16(), form.version()), (200, Version::HTTP_11));
    let stranger = trusting(&make("another")).build().unwrap();
    assert!(stranger.get(url(&postern, ASKED)).send().await.is_err(), "another certificate was expected");
    assert!(fetch(client.get(postern.url() + ASKED)).await.is_err(), "there is nothing without TLS");
    assert_eq!(postern.terminate().await.code, Some(0));
}

#[tokio::test]
async fn curl_sends_a_message_over_tls() {
    let (launch, postern) = showing(&make("curl")).await;
    let address = url(&postern, "/backends/demo");
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--max-time", "30", "--cacert", "cert.pem"])
        .args(["--data", "identity=1&text=ping", &address])
        .current_dir(launch.folder().path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"OK"[..]), "{said}");
}

/// New certificates are used, but not while the key is that of another certificate.
async fn new_certificates_are_taken() {
    let (first, second, third) = (make("first"), make("second"), make("third"));
    let (launch, postern) = showing(&first).await;
    assert_eq!(shows(&postern, &first).await.unwrap(), 200);
    assert!(shows(&postern, &second).await.is_err());

    put(&launch, &second);
    eventually("the second certificate", async || shows(&postern, &second).await).await;
    assert!(shows(&postern, &first).await.is_err());

    launch.folder().write("cert.pem", &third.cert);
    let said = postern.log().wait_for("ingress.tls.key").await;
    assert!(
        said.contains("key.pem contains a key that does not belong") && said.contains("stays in use"),
        "{said}"
    );
    assert_eq!(shows(&postern, &second).await.unwrap(), 200);

    put(&launch, &third);
    eventually("the third certificate", async || shows(&postern, &third).await).await;
    ends_having_refused(postern, 1).await;
}

/// A file without a certificate, and one that cannot be read, change nothing.
async fn bad_files_are_not_used() {
    let made = make("first");
    let (launch, postern) = showing(&made).await;
    launch.folder().write("cert.pem", "hello");
    postern.log().wait_for("cert.pem contains no certificate").await;
    std::fs::remove_file(launch.folder().path().join("cert.pem")).unwrap();
    postern.log().wait_for("cert.pem cannot be read").await;
    assert_eq!(shows(&postern, &made).await.unwrap(), 200);
    ends_having_refused(postern, 2).await;
}

/// Ends the program, which must have logged `times` that it keeps its certificate.
async fn ends_having_refused(program: Program, times: usize) {
    let log = program.terminate().await.log;
    assert_eq!(log.matches("stays in use").count(), times, "each is said once: {log}");
    assert!(!log.contains("PRIVATE KEY"), "{log}");
}

/// At the same time, because the files are read only every five seconds.
#[tokio::test]
async fn a_new_certificate_is_taken_without_a_restart_and_a_bad_one_is_not() {
    tokio::join!(new_certificates_are_taken(), bad_files_are_not_used());
}

#[tokio::test]
async fn what_is_wrong_is_found_before_the_start() {
    let (made, other) = (make("one"), make("other"));
    for (cert, key, named, says) in [
        (None, Some(&*made.key), "ingress.tls.cert", "not-there.pem cannot be read"),
        (Some(&*made.cert), None, "ingress.tls.key", "not-there.pem cannot be read"),
        (Some(""), Some(&made.key), "ingress.tls.cert", "cert.pem contains no certificate"),
        (Some(&made.key), Some(&made.key), "ingress.tls.cert", "cert.pem contains no certificate"),
        (Some(&made.cert), Some(&made.cert), "ingress.tls.key", "key.pem contains no private key"),
        (
            Some(&made.cert),
            Some(&other.key),
            "ingress.tls.key",
            "key.pem contains a key that does not belong",
        ),
        (
            Some("-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n"),
            Some(&made.key),
            "ingress.tls.cert",
            "damaged",
        ),
    ] {
        let name = |text: Option<&str>, name: &'static str| text.map_or("not-there.pem", |_| name);
        let config = format!(
            "[ingress]\ntls = {{ cert = \"{}\", key = \"{}\" }}\n{BACKEND}",
            name(cert, "cert.pem"),
            name(key, "key.pem")
        );
        for command in ["check", "run"] {
            let launch = Launch::gateway().config(&config).arg(command);
            launch.folder().write("cert.pem", cert.unwrap_or_default());
            launch.folder().write("key.pem", key.unwrap_or_default());
            let ended = launch.run().await;
            assert_eq!(ended.code, Some(2), "{named}: {}", ended.log);
            let key = format!("{named}: ");
            assert!(ended.log.contains(&key) && ended.log.contains(says), "{key}{says}: {}", ended.log);
            assert!(!ended.log.contains("BEGIN PRIVATE KEY-----\n"), "{}", ended.log);
        }
    }
}
