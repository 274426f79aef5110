//! The dashboards in deploy/grafana: rules for each panel, and a real Prometheus that scrapes the real programs
//! and RabbitMQ as deploy/prometheus/prometheus.yml says and answers each panel's query with data. `tests/run`
//! generates the dashboards again and compares them.

use crate::{alerts::metrics_in, commands::command};
use postern_tests::{
    Answer, Folder, Launch, Peer, Program, Provider, Rabbit, Request, fetch, free_port, http_client, within,
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, process::Command, time::Duration};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// How long scraping, the rates and the log need until everything has data, on a busy machine.
const SEEN: Duration = Duration::from_secs(90);

fn dashboards() -> Vec<Value> {
    let folder = format!("{ROOT}/deploy/grafana/dashboards/Postern");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let boards: Vec<Value> =
        files.map(|file| serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()).collect();
    assert!(boards.len() >= 3, "{}", boards.len());
    boards
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a Vec<Value> {
    value.pointer(pointer).and_then(Value::as_array).unwrap_or_else(|| panic!("no {pointer} in {value}"))
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {value}"))
}

/// A dashboard's panels except the rows, which show nothing.
fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    list(board, "/panels").iter().filter(|panel| text(panel, "/type") != "row")
}

/// Each selector of a query: from a metric's name to its closing brace.
fn selectors(query: &str) -> impl Iterator<Item = &str> {
    query.match_indices('{').map(|(at, _)| {
        let name = query[..at].rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(0, |at| at + 1);
        &query[name..at + query[at..].find('}').unwrap()]
    })
}

/// The rules of dashboard-linter for a dashboard that shows several jobs and instances.
#[test]
fn every_panel_is_explained_has_a_unit_and_follows_the_variables() {
    let mut uids = BTreeSet::new();
    for board in dashboards() {
        assert!(uids.insert(text(&board, "/uid").to_owned()));
        assert_eq!(board["editable"], false, "it is built, not edited");
        let variables = list(&board, "/templating/list");
        let variable = |name: &str| {
            variables.iter().find(|variable| variable["name"] == name).unwrap_or_else(|| panic!("no ${name}"))
        };
        assert_eq!(text(variable("datasource"), "/type"), "datasource");
        for name in ["job", "instance"] {
            let variable = variable(name);
            assert_eq!(text(variable, "/datasource/uid"), "${datasource}");
            assert_eq!((&variable["multi"], &variable["allValue"]), (&json!(true), &json!(".+")), "{name}");
            assert_eq!(variable["refresh"], 2, "${name} follows the time range");
        }
        for panel in panels(&board) {
            let title = text(panel, "/title");
            assert!(title.len() > 1 && text(panel, "/description").len() > 20, "{panel}");
            assert!(!text(panel, "/fieldConfig/defaults/unit").is_empty(), "{title} has no unit");
            for part in [&[panel][..], &list(panel, "/targets").iter().collect::<Vec<_>>()].concat() {
                assert_eq!(text(part, "/datasource/uid"), "${datasource}", "{title}");
            }
            assert!(!list(panel, "/targets").is_empty(), "{title} asks for nothing");
            for target in list(panel, "/targets") {
                follows_the_variables(text(target, "/expr"));
            }
        }
    }
}

fn follows_the_variables(query: &str) {
    assert!(selectors(query).count() > 0, "{query}");
    for selector in selectors(query) {
        for matcher in ["job=~\"$job\"", "instance=~\"$instance\""] {
            assert!(selector.contains(matcher), "{selector} without {matcher}");
        }
        let counted = ["_total{", "_bucket{"].iter().any(|end| selector.contains(end));
        let ranged = query.contains(&format!("rate({selector}}}[$__rate_interval])"));
        assert_eq!(counted, ranged, "of counters the rate, over $__rate_interval: {query}");
    }
    assert_eq!(
        query.matches('[').count() - query.matches("[.]").count(),
        query.matches("[$__rate_interval]").count()
    );
}

/// Each backend has a row with what an operator needs to see.
#[test]
fn each_backend_has_a_row() {
    let boards = dashboards();
    let board = boards.iter().find(|board| board["uid"] == "postern-messages").unwrap();
    let all = list(board, "/panels");
    let row = all.iter().position(|panel| panel["repeat"] == "backend").expect("a row that is repeated");
    let titles: Vec<_> = all[row + 1..].iter().map(|panel| text(panel, "/title")).collect();
    for wanted in ["In", "Out", "Failures by class", "Age", "Queue", "Pauses"] {
        assert!(titles.contains(&wanted), "{wanted} is missing: {titles:?}");
    }
}

/// deploy/prometheus/prometheus.yml, but scraping these ports of this machine, once a second.
fn scraping([ingress, dispatcher, rabbit]: [u16; 3]) -> String {
    let file = std::fs::read_to_string(format!("{ROOT}/deploy/prometheus/prometheus.yml")).unwrap();
    let mut text = String::new();
    let mut job = "";
    for line in file.lines() {
        job = line.strip_prefix("  - job_name: ").unwrap_or(job);
        let targets = |port: u16| format!("    static_configs: [{{ targets: [\"127.0.0.1:{port}\"] }}]\n");
        match (job, line.trim_start()) {
            // The alertmanager, the DNS names and the token exist only with docker-compose.yml.
            (_, rest) if rest.starts_with("- dns_sd") || rest.starts_with("alert") => {}
            (_, rest) if rest.starts_with("- {") || rest.starts_with("authorization") => {}
            ("postern-ingress", rest) if rest.starts_with("dns_sd_configs") => text += &targets(ingress),
            ("postern-dispatcher", rest) if rest.starts_with("dns_sd_configs") => {
                text += &targets(dispatcher)
            }
            (_, rest) if rest.starts_with("static_configs") => text += &targets(rabbit),
            (_, rest) if rest.starts_with("rule_files") => {
                text += &format!("rule_files: [\"{ROOT}/deploy/prometheus/rules/*.yml\"]\n");
            }
            _ => text += &format!("{}\n", line.replace("15s", "1s").replace("30s", "1s")),
        }
    }
    for job in ["postern-ingress", "postern-dispatcher", "rabbitmq", "rabbitmq-queues"] {
        assert!(text.contains(&format!("job_name: {job}\n")), "{text}");
    }
    text
}

struct Prometheus {
    peer: Peer,
    port: u16,
    _folder: Folder,
}

impl Prometheus {
    async fn start(config: &str) -> Self {
        for _ in 0..3 {
            let (folder, port) = (Folder::new(), free_port());
            let file = folder.write("prometheus.yml", config);
            let mut command = Command::new("prometheus");
            command.current_dir(folder.path()).arg("--storage.tsdb.path=data").arg("--log.level=warn");
            command.arg(format!("--config.file={}", file.display()));
            command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
            let mut peer = Peer::start("prometheus", &mut command);
            if peer.listens(port).await {
                return Self { peer, port, _folder: folder };
            }
        }
        panic!("Prometheus found no free port three times")
    }

    /// The `data` of the answer of `/api/v1/PATH`.
    async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value, String> {
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let request = http_client().get(url).query(parameters);
        let reply = fetch(request).await.map_err(|e| e.to_string())?;
        match reply.json()["status"].as_str() {
            Some("success") => Ok(reply.json()["data"].clone()),
            // 503 while it starts; any other status is a fault.
            _ if reply.status == 503 => Err(reply.text),
            _ => panic!("{parameters:?}: {} {}", reply.text, self.peer.log().text()),
        }
    }

    /// Whether the result of a query contains a number.
    async fn has(&self, query: &str) -> Result<bool, String> {
        let data = self.ask("query", &[("query", query)]).await?;
        Ok(list(&data, "/result").iter().any(|sample| text(sample, "/value/1") != "NaN"))
    }
}

/// `query` as a panel sends it when every job and instance is chosen.
fn with_all_chosen(query: &str) -> String {
    let query = query.replace("$job", ".+").replace("$instance", ".+").replace("$backend", "x");
    let query = query.replace("$__rate_interval", "1m");
    assert!(!query.contains('$'), "{query}");
    query
}

/// How many values a variable's query `label_values(METRIC, LABEL)` yields.
async fn values(prometheus: &Prometheus, variable: &Value) -> Result<usize, String> {
    let query = with_all_chosen(text(variable, "/query"));
    let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap();
    let (metric, label) = inside.rsplit_once(", ").unwrap();
    let found = prometheus.ask(&format!("label/{label}/values"), &[("match[]", metric)]).await?;
    Ok(found.as_array().unwrap().len())
}

fn config(broker: &str, provider: &Provider, log: &Folder) -> String {
    format!(
        "{broker}[log]\nurl = \"sqlite:{}\"\n[retry]\ndelays = [\"100ms\"]\n\
         [backends.x]\ntype = \"http\"\n[backends.x.status]\nstates = {{ DELIVRD = \"delivered\" }}\n\
         [backends.x.send]\nurl = \"{}\"\nform = {{ to = \"{{{{ identity }}}}\" }}\n\
         [backends.paused]\ntype = \"http\"\nsend = {{ url = \"{}\" }}\n",
        log.path().display(),
        provider.url("/send"),
        provider.url("/paused")
    )
}

/// Causes one message that is sent, one that is retried, one that fails permanently, one from a person, and a
/// delivery report.
async fn traffic(ingress: &Program) {
    for (backend, to) in [("x", "1"), ("x", "503"), ("x", "400"), ("paused", "1")] {
        let body = json!({"backend": backend, "identities": [to], "text": "hi"});
        assert_eq!(ingress.post_json("/v1/messages", &body).await.status, 202);
    }
    assert_eq!(ingress.get("/backends/x?identity=1&text=a").await.status, 200);
    let report = [("message_id", "0199b2a4-0000-7000-8000-000000000000"), ("state", "DELIVRD")];
    assert_eq!(ingress.post_form("/backends/x/status", &report).await.status, 200);
}

fn answer(request: &Request) -> Answer {
    match request.form().first().map(|(_, to)| to.as_str()) {
        Some("503") => Answer::status(503),
        Some("400") => Answer::status(400),
        _ => Answer::ok("OK"),
    }
}

#[tokio::test]
async fn every_query_of_every_panel_is_answered_with_data_and_every_rule_with_metrics() {
    let provider = Provider::start().await;
    provider.otherwise(answer);
    let (rabbit, port) = tokio::task::spawn_blocking(Rabbit::scraped).await.unwrap();
    let (vhost, log) = (rabbit.vhost(), Folder::new());
    let config = config(&vhost.config(""), &provider, &log);
    let (ingress, dispatcher) = (Launch::ingress(&config), Launch::dispatcher(&config));
    let (ingress, dispatcher) = tokio::join!(ingress.start(), dispatcher.start());
    assert_eq!(command(&dispatcher, "/v1/backends/paused/pause", &json!({})).await.0, 200);
    let prometheus =
        Prometheus::start(&scraping([ingress.admin_port(), dispatcher.admin_port(), port])).await;

    let boards = dashboards();
    let targets = boards.iter().flat_map(panels).flat_map(|panel| list(panel, "/targets"));
    let mut queries: BTreeSet<_> = targets.map(|target| with_all_chosen(text(target, "/expr"))).collect();
    assert!(queries.len() > 50, "{}", queries.len());
    // promtool tests these rules with invented series; here RabbitMQ itself must export what they use.
    queries.extend(metrics_in("rabbitmq", "rabbitmq_"));
    within(SEEN, "data for every query", async || {
        traffic(&ingress).await;
        let mut empty = Vec::new();
        for query in &queries {
            if !prometheus.has(query).await? {
                empty.push(query.clone());
            }
        }
        if empty.is_empty() { Ok(()) } else { Err(format!("nothing for {empty:#?}")) }
    })
    .await;

    for variable in boards.iter().flat_map(|board| list(board, "/templating/list")) {
        if variable["type"] == "query" {
            assert!(values(&prometheus, variable).await.unwrap() >= 2, "{variable}");
        }
    }
    let rules = prometheus.ask("rules", &[]).await.unwrap();
    let rules: Vec<_> = list(&rules, "/groups").iter().flat_map(|group| list(group, "/rules")).collect();
    assert!(rules.len() > 20, "{}", rules.len());
    for rule in rules {
        assert!(text(rule, "/health") != "err", "{rule}");
    }
}
