//! `postern health`, as an image's health check runs it.

use crate::access::tls;
use postern_tests::{Ended, Launch, Program, Rabbit, eventually, free_port};

/// Runs `program` with the arguments of a health check against the admin port `port`.
async fn asked(program: &'static str, arguments: &[&str], port: u16, config: &str) -> Ended {
    let launch = Launch::program(program).own_addresses().config(config);
    let launch = arguments.iter().fold(launch, |launch, argument| launch.arg(argument));
    launch.env("POSTERN__ADMIN__LISTEN", &format!("127.0.0.1:{port}")).run().await
}

fn healthy(ended: &Ended) {
    assert_eq!((ended.code, ended.out.as_str(), ended.log.as_str()), (Some(0), "", ""));
}

/// Checks that it ended with status 1 and one line that says `why`.
fn unhealthy(ended: &Ended, why: &str) {
    assert_eq!(ended.code, Some(1), "{}", ended.log);
    assert_eq!(ended.log.lines().count(), 1, "{}", ended.log);
    assert!(ended.log.contains(why), "{why} is not in {}", ended.log);
}

#[tokio::test]
async fn every_program_says_whether_it_is_ready() {
    let vhost = Rabbit::shared().vhost();
    let config = vhost.config("[backends.x]\ntype = \"console\"\n");
    let (ingress, dispatcher) = (Launch::ingress(&config), Launch::dispatcher(&config));
    let (ingress, dispatcher) = tokio::join!(ingress.start(), dispatcher.start());
    let gateway = Launch::gateway().start().await;
    let asking: [(&Program, &'static str, &[&str], &str); 5] = [
        (&gateway, "postern", &["health"], ""),
        (&ingress, "postern-ingress", &["health"], &config),
        (&ingress, "postern", &["ingress", "health"], &config),
        (&dispatcher, "postern-dispatcher", &["health"], &config),
        (&dispatcher, "postern", &["dispatcher", "health"], &config),
    ];
    for (program, name, arguments, config) in asking {
        healthy(&asked(name, arguments, program.admin_port(), config).await);
    }
    let livez = format!("http://127.0.0.1:{}/livez", gateway.admin_port());
    for (url, code) in [(livez, 0), (gateway.url() + "/livez", 1)] {
        let ended = asked("postern", &["health", "--url", &url], 1, "").await;
        assert_eq!(ended.code, Some(code), "{url}: {}", ended.log);
    }
    let port = gateway.admin_port();
    assert_eq!(gateway.terminate().await.code, Some(0));
    unhealthy(&asked("postern", &["health"], port, "").await, "does not answer");
}

#[tokio::test]
async fn a_program_that_is_not_ready_says_what_is_missing() {
    let config = format!("[broker]\nurl = \"amqp://127.0.0.1:{}\"\n[ingress]\nspool = false\n", free_port());
    let ingress = Launch::ingress(&config).spawn();
    let ended = eventually("an answer", async || {
        let ended = asked("postern", &["ingress", "health"], ingress.admin_port(), &config).await;
        if ended.log.contains("does not answer") { Err(ended.log) } else { Ok(ended) }
    });
    unhealthy(&ended.await, "broker not connected");
}

#[tokio::test]
async fn a_port_with_tls_and_a_token_is_asked_as_it_wants() {
    let config = "[admin]\ntls = { cert = \"cert.pem\", key = \"key.pem\" }\ntoken = { env = \"ADMIN\" }\n";
    let port = free_port();
    let launch = Launch::gateway().config(config).env("ADMIN", "secret-of-the-admin-port");
    tls::put(&launch, &tls::make_for("sms.example.org", "admin"));
    let address = format!("127.0.0.1:{port}");
    let gateway = launch.clone().arg("--admin-listen").arg(&address).spawn();
    gateway.log().wait_for("\"started\"").await;
    // Without the token, which the health check does not need.
    let health = Launch::gateway().own_addresses().config(config);
    tls::put(&health, &tls::make_for("another.example.org", "admin"));
    let health = health.arg("health").arg("--admin-listen").arg(&address);
    healthy(&health.run().await);
    let url = format!("https://{address}");
    unhealthy(&health.arg("--url").arg(&url).run().await, "does not answer");
}

#[tokio::test]
async fn a_configuration_that_is_wrong_is_one_line_and_status_1() {
    let ended = asked("postern", &["health"], 1, "[admin]\nlisen = 1\n[broker]\nurrl = 2\n").await;
    unhealthy(&ended, "the configuration is invalid");
    assert!(ended.log.contains("lisen") && ended.log.contains("urrl"), "{}", ended.log);
}

#[tokio::test]
async fn all_but_one_backend_is_served() {
    let vhost = Rabbit::shared().vhost();
    let config = vhost.config(
        "[backends.clinic]\ntype = \"console\"\n[backends.school]\ntype = \"console\"\n[backends.town]\ntype = \"console\"\n",
    );
    let dispatcher = Launch::dispatcher(&config).arg("--backends").arg("!clinic").start().await;
    let tap = vhost.tap().await;
    for backend in ["clinic", "school", "town"] {
        let body = serde_json::json!({"backend": backend, "identities": ["1"], "text": "a"});
        tap.publish("postern.outbound", backend, body.to_string().as_bytes(), Default::default()).await;
    }
    for backend in ["school", "town"] {
        let sent = [("backend", backend), ("outcome", "sent")];
        dispatcher.metric_becomes("postern_dispatch_messages_total", &sent, 1.0).await;
    }
    tap.depth_becomes("postern.outbound.clinic", 1).await;
    let wrong = Launch::dispatcher(&config).arg("--backends").arg("!clinnic").run().await;
    assert_eq!(wrong.code, Some(2));
    assert!(wrong.log.contains("unknown backend `clinnic`"), "{}", wrong.log);
}
