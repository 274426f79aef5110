//! The demo provider of docker-compose.yml's profile `demo`, with its backend from deploy/docker/postern.toml.

use postern_tests::{Launch, Peer, eventually, fetch, free_port, http_client};
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

#[tokio::test]
async fn what_is_typed_comes_in_and_what_is_sent_is_reported_as_delivered() {
    let port = free_port();
    let postern = Launch::gateway().config(&config(port)).start().await;
    let provider = format!("{ROOT}/deploy/examples/provider/provider.py");
    let address = format!("127.0.0.1:{port}");
    let mut command = Command::new("python3");
    let mut provider = Peer::start("provider", command.args(["-B", &provider, &postern.url(), &address]));
    assert!(provider.listens(port).await);

    let page = format!("http://{address}/");
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
