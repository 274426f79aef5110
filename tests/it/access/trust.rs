//! Which servers Postern trusts when it connects to a provider or a broker.

use super::tls::{Made, make_for, put};
use postern_tests::{Launch, Program, Rabbit, Vhost, eventually, fetch, http_client};
use reqwest::Method;
use serde_json::json;
use std::path::PathBuf;

/// The certificate that the server shows; the one that is trusted, if it is another; and the error, if there is
/// one.
fn rows() -> [(Made, Option<Made>, Option<&'static str>); 3] {
    let (own, other) = (make_for("localhost", "own"), make_for("localhost", "other"));
    let elsewhere = make_for("elsewhere.example.org", "elsewhere");
    let again = |made: &Made| Made { cert: made.cert.clone(), key: made.key.clone() };
    [
        (again(&own), None, None),
        (own, Some(other), Some("UnknownIssuer")),
        (elsewhere, None, Some("not valid for name")),
    ]
}

/// `launch`, with `made` trusted in addition to the usual roots.
fn trusting(launch: Launch, made: &Made) -> Launch {
    launch.folder().write("trusted.pem", &made.cert);
    let path = launch.folder().path().join("trusted.pem");
    launch.env("SSL_CERT_FILE", &path.display().to_string())
}

/// The provider is another gateway with TLS.
#[tokio::test]
async fn a_provider_is_sent_to_only_if_its_certificate_is_trusted_and_its_own() {
    for (shown, trusted, says) in rows() {
        let tls =
            "[ingress]\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\n[backends.in]\ntype = \"http\"\n";
        let launch = Launch::gateway().config(tls);
        put(&launch, &shown);
        let provider = launch.start().await;
        let url = provider.url().replace("http://127.0.0.1", "https://localhost");
        let config = format!(
            "[retry]\ndelays = []\n[backends.out]\ntype = \"http\"\n\
             send = {{ url = \"{url}/backends/in\", form = {{ identity = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }} }}\n"
        );
        let launch = Launch::gateway().config(&config).admin_token("hush-token");
        let postern = trusting(launch, trusted.as_ref().unwrap_or(&shown)).start().await;
        let body = json!({"backend": "out", "to": "+1555", "text": "hi"});
        assert_eq!(postern.post_json("/v1/messages", &body).await.status, 202);
        let arrived = async || metric(&provider, "postern_ingress_requests_total").await;
        let Some(says) = says else {
            postern.metric_becomes("postern_dispatch_messages_total", &[("outcome", "sent")], 1.0).await;
            assert!((arrived().await - 1.0).abs() < f64::EPSILON);
            continue;
        };
        postern.metric_becomes("postern_dead_letters_total", &[("class", "transient")], 1.0).await;
        let ask = async |path: String| {
            let url = format!("http://127.0.0.1:{}/v1/dead{path}", postern.admin_port());
            fetch(http_client().get(url).bearer_auth("hush-token")).await.unwrap()
        };
        let id = ask(String::new()).await.json()["letters"][0]["id"].as_str().unwrap().to_owned();
        let letter = ask(format!("/{id}")).await.text;
        assert!(letter.contains("connect: ") && letter.contains(says), "{says}: {letter}");
        assert!(arrived().await.abs() < f64::EPSILON);
    }
}

async fn metric(program: &Program, name: &str) -> f64 {
    program.metrics().await.value(name, &[])
}

/// RabbitMQ itself has TLS. A server that is not trusted never receives the password.
#[tokio::test]
async fn a_broker_is_used_only_if_its_certificate_is_trusted_and_its_own() {
    let rabbit = Rabbit::shared();
    for (shown, trusted, says) in rows() {
        let vhost = rabbit.vhost();
        let files = Launch::gateway();
        put(&files, &shown);
        let file = |name: &str| -> PathBuf { files.folder().path().join(name) };
        let port = rabbit.listen_with_tls(&file("cert.pem"), &file("key.pem"));
        let url = amqps(&vhost, port);
        let config =
            format!("[broker]\nurl = \"{url}\"\n[ingress]\nspool = false\n[backends.in]\ntype = \"http\"\n");
        let ingress = trusting(Launch::ingress(&config), trusted.as_ref().unwrap_or(&shown)).spawn();
        ingress.log().wait_for("\"started\"").await;
        let said = eventually("a verdict on the certificate", async || {
            let reply = ingress.ready().await.map_err(|error| error.to_string())?;
            let decided = reply.status == 200 || says.is_some_and(|says| reply.text.contains(says));
            if decided { Ok(reply) } else { Err(reply.text) }
        })
        .await;
        let asked = ingress.request(Method::GET, "/backends/in?identity=1&text=a");
        let answer = ingress.fetch(asked).await;
        match says {
            None => {
                assert_eq!((said.status, answer.status), (200, 200), "{}", answer.text);
                assert_eq!(vhost.tap().await.take("postern.inbound").await.json()["text"], "a");
            }
            Some(_) => {
                assert_eq!((said.status, answer.status), (503, 503), "{}", said.text);
                assert!(said.text.contains("SSL_CERT_FILE"), "{}", said.text);
            }
        }
    }
}

fn amqps(vhost: &Vhost, port: u16) -> String {
    vhost.url_at(port).replace("amqp://", "amqps://").replace("127.0.0.1", "localhost")
}
