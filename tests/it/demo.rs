//! The demo provider of docker-compose.yml's profile `demo`, with its backend from deploy/docker/postern.toml.

use postern_tests::{
    Answer, Launch, Peer, Provider, Request, eventually, fetch, free_port, http_client, pairs,
};
use std::process::Command;
use toml::{Table, Value};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// The backend `provider` of deploy/docker/postern.toml, with its provider at `port`, and an application that
/// replies.
fn config(port: u16) -> String {
    let text = std::fs::read_to_string(format!("{ROOT}/deploy/docker/postern.toml")).unwrap();
    let file: Table = text.parse().unwrap();
    let mut backend = file["backends"]["provider"].as_table().unwrap().clone();
    let send = backend["send"].as_table_mut().unwrap();
    assert_eq!(send["url"].as_str(), Some("http://provider:9009/send"));
    send.insert("url".to_owned(), format!("http://127.0.0.1:{port}/send").into());
    let backends: Table = [("provider".to_owned(), Value::Table(backend))].into_iter().collect();
    let application: Table = [("type".to_owned(), Value::from("echo"))].into_iter().collect();
    let tables = [("backends".to_owned(), backends.into()), ("application".to_owned(), application.into())];
    tables.into_iter().collect::<Table>().to_string()
}

/// The demo provider on `port`, which posts to `ingress`.
async fn demo(ingress: &str, port: u16) -> Peer {
    let program = format!("{ROOT}/deploy/examples/provider/provider.py");
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new("python3");
    let mut demo = Peer::start("provider", command.args(["-B", &program, ingress, &address]));
    assert!(demo.listens(port).await);
    demo
}

#[tokio::test]
async fn what_is_typed_comes_in_and_what_is_sent_is_reported_as_delivered() {
    let port = free_port();
    let postern = Launch::gateway().config(&config(port)).start().await;
    let _demo = demo(&postern.url(), port).await;

    let page = format!("http://127.0.0.1:{port}/");
    let typed =
        http_client().post(page.clone() + "type").form(&[("identity", "+15550100"), ("text", "ping <b>")]);
    fetch(typed).await.unwrap();
    let delivered = [("backend", "provider"), ("state", "delivered")];
    postern.metric_becomes("postern_reports_total", &delivered, 1.0).await;
    eventually("the page to show all of it", async || {
        let page = fetch(http_client().get(&page)).await.map_err(|e| e.to_string())?.text;
        let wanted = [
            "from +15550100<td>ping &lt;b&gt;<td>200",
            "to +15550100<td>ping &lt;b&gt;<td>demo-",
            "report<td>demo-",
            "-1<td>200",
        ];
        if wanted.iter().all(|wanted| page.contains(wanted)) { Ok(()) } else { Err(page) }
    })
    .await;
}

#[tokio::test]
async fn a_report_that_is_not_taken_is_repeated() {
    let port = free_port();
    let ingress = Provider::obliging().await;
    ingress.script([Answer::status(503)]);
    let _demo = demo(&ingress.url(""), port).await;
    let send = http_client().post(format!("http://127.0.0.1:{port}/send"));
    let sent = fetch(send.form(&[("to", "+15550100"), ("text", "pong")])).await.unwrap().json();
    let report = pairs(&[("external_id", sent["id"].as_str().unwrap()), ("state", "delivered")]);
    let reports: Vec<_> = ingress.wait_for(2).await.iter().map(Request::form).collect();
    assert_eq!(reports, [report.clone(), report]);
}
