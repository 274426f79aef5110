//! docker-compose.yml on a real Docker engine, operated as docs/operations.md says: its commands are run as
//! printed. tests/compose/run starts the engine, builds the images and starts this program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says how long its parts took"
)]
#![allow(missing_docs, reason = "a test's name is its documentation")]

mod operator;

use operator::{Operator, metric_number};
use serde_json::{Value, json};
use std::time::Duration;

/// A limit for containers to start, be found and be scraped, on a busy machine.
const SEEN: Duration = Duration::from_secs(300);
/// Overrides for what the test machine lacks: an image of Grafana, a second build, an engine that supports
/// `start_interval`, and a limit of open files above its own.
fn overriding() -> String {
    let limit: u32 = std::env::var("OPEN_FILES").unwrap().parse().unwrap();
    let health = |seconds| format!("{{ interval: {seconds}s, start_interval: !reset null }}");
    let mut text = format!("x-files: &files {{ nofile: {} }}\n", limit.min(65536));
    text += "services:\n  grafana: { profiles: [absent] }\n";
    for service in ["ingress", "dispatcher", "rabbitmq", "prometheus", "alertmanager", "provider", "postgres"]
    {
        let build = if service == "ingress" { "build: !reset null, " } else { "" };
        // RabbitMQ's health check takes seconds of CPU time.
        let health = health(if service == "rabbitmq" { 5 } else { 2 });
        text += &format!("  {service}: {{ {build}healthcheck: {health}, ulimits: *files }}\n");
    }
    text
}
const ENVIRONMENT: &str = "COMPOSE_PROFILES=demo,alerts,log\nMESSAGE_LOG=true\n";

#[tokio::test]
async fn what_operators_do_with_it_works() {
    let operator = Operator::new(&overriding(), ENVIRONMENT);
    let made = operator.made();
    operator.runs("start");
    messages_go_through(&operator).await;
    operator.runs("scale");
    prometheus_sees(&operator, 3).await;
    what_dies_comes_back(&operator).await;
    restart_of_rabbitmq(&operator).await;
    // A newer image, with two dispatchers in `.env`; nothing is fetched.
    let newer = "docker tag postern:0.1.0 postern:0.1.1; printf 'POSTERN_IMAGE=postern:0.1.1\\nDISPATCHERS=2\\n' >>.env";
    operator.runs_with(&format!("{newer}; git() {{ :; }}"), "upgrade");
    no_alert_has_fired(&operator).await;
    backup_and_restore(&operator).await;
    operator.runs("stop");
    for container in operator.containers() {
        assert_eq!(
            (&container["State"], &container["ExitCode"]),
            (&json!("exited"), &json!(0)),
            "{container}"
        );
    }
    operator.compose(&["down", "--volumes"]);
    assert_eq!(operator.made(), made, "containers, volumes or networks are left");
}

/// One message goes through the API to the provider, and the message log in PostgreSQL has its report; one goes
/// from a person to the consumer of `postern.inbound`.
async fn messages_go_through(operator: &Operator) {
    let id = operator.send("provider").await;
    operator.becomes(&id, "delivered").await;
    let typed = operator.client().post("http://127.0.0.1:9009/type");
    operator.fetch(typed.form(&[("identity", "+15550100"), ("text", "ping")])).await;
    let url = "http://127.0.0.1:15672/api/queues/%2F/postern.inbound/get";
    let password = operator.secret("rabbitmq_password");
    let question = json!({"count": 1, "ackmode": "ack_requeue_false", "encoding": "auto"});
    operator
        .sees(SEEN, "what a person wrote", async || {
            let request = operator.client().post(url).basic_auth("postern", Some(&password)).json(&question);
            let taken = operator.try_fetch(request).await?;
            match taken.pointer("/0/payload").and_then(Value::as_str) {
                Some(payload) if payload.contains("\"ping\"") => Ok(()),
                _ => Err(taken.to_string()),
            }
        })
        .await;
}

/// Waits until Prometheus finds and reaches every replica, RabbitMQ and the Alertmanager, and sees that every
/// replica is connected.
async fn prometheus_sees(operator: &Operator, dispatchers: usize) {
    let wanted =
        json!({"postern-ingress": 1, "postern-dispatcher": dispatchers, "rabbitmq": 1, "rabbitmq-queues": 1});
    operator
        .sees(SEEN, "every replica to be scraped", async || {
            let told = operator.prometheus("targets", &[("state", "active")]).await?;
            let targets = told["activeTargets"].as_array().unwrap();
            let number = |job: &str, health: &str| {
                targets.iter().filter(|t| t["scrapePool"] == job && t["health"] == health).count()
            };
            let jobs = wanted.as_object().unwrap().keys();
            let up: Value = jobs.clone().map(|job| (job.clone(), json!(number(job, "up")))).collect();
            let others = targets.iter().filter(|target| target["health"] != "up").count();
            let told = operator.prometheus("alertmanagers", &[]).await?;
            let alertmanagers = told["activeAlertmanagers"].as_array().unwrap().len();
            // Two short outages must not look like one.
            let connected =
                operator.prometheus("query", &[("query", "min(postern_broker_connected)")]).await?;
            let connected = metric_number(&connected);
            match up == wanted && others == 0 && alertmanagers == 1 && connected == Some(1.0) {
                true => Ok(()),
                false => Err(format!(
                    "{up}, {others} not up, {alertmanagers} Alertmanagers, connected: {connected:?}"
                )),
            }
        })
        .await;
}

/// Kills one container of each service; the engine starts it again. Messages that are sent meanwhile arrive.
async fn what_dies_comes_back(operator: &Operator) {
    let mut ids = Vec::new();
    for service in ["dispatcher", "rabbitmq", "ingress"] {
        let killed = operator.kill_one(service);
        if service != "ingress" {
            ids.push(operator.send("provider").await);
        }
        operator
            .sees(SEEN, &format!("{service} to be back"), async || {
                let told = operator.inspect(&killed, "{{.RestartCount}} {{.State.Health.Status}}");
                if told == "1 healthy" { Ok(()) } else { Err(told) }
            })
            .await;
    }
    ids.push(operator.send("provider").await);
    for id in ids {
        operator.becomes(&id, "delivered").await;
    }
    prometheus_sees(operator, 3).await;
}

async fn restart_of_rabbitmq(operator: &Operator) {
    let restart = operator.spawn(&["restart", "rabbitmq"]);
    operator
        .sees(SEEN, "the broker to be away", async || {
            let ready = operator.fetch_text("http://127.0.0.1:8081/readyz").await?;
            if ready.contains("broker") { Ok(()) } else { Err(ready) }
        })
        .await;
    // The message goes into the spool, and from there to the broker.
    let id = operator.send("provider").await;
    operator.ended(restart);
    operator.becomes(&id, "delivered").await;
}

/// After all faults: no alert is pending any more, and none has ever fired.
async fn no_alert_has_fired(operator: &Operator) {
    prometheus_sees(operator, 2).await;
    operator
        .sees(SEEN, "no alert to be pending", async || {
            // A forecast for one day from the first minutes, for a disk that others fill, too.
            let alerts = [("query", "ALERTS{alertname!=\"RabbitMQDiskSoon\"}")];
            let alerts = operator.prometheus("query", &alerts).await?;
            let spooled = operator.prometheus("query", &[("query", "sum(postern_spool_messages)")]).await?;
            let quiet = alerts["result"] == json!([]) && metric_number(&spooled) == Some(0.0);
            if quiet { Ok(()) } else { Err(format!("{alerts} {spooled}")) }
        })
        .await;
    let scraped = operator.prometheus("query", &[("query", "count_over_time(up[1h])")]).await.unwrap();
    assert!(scraped["result"].as_array().unwrap().len() >= 4, "{scraped}");
    let fired = [("query", "count_over_time(ALERTS{alertstate=\"firing\"}[1h])")];
    let fired = operator.prometheus("query", &fired).await.unwrap();
    assert_eq!(fired["result"], json!([]), "alerts fired");
    let told = operator.fetch(operator.client().get("http://127.0.0.1:9093/api/v2/alerts")).await;
    assert_eq!(told, json!([]), "the Alertmanager was told of alerts");
}

/// A restore brings back what RabbitMQ and PostgreSQL contained at the backup, and nothing that came later.
async fn backup_and_restore(operator: &Operator) {
    operator.command("demo", "pause").await;
    let waiting = operator.send("demo").await;
    operator.becomes(&waiting, "queued").await;
    operator.runs("back up");
    let later = operator.send("provider").await;
    operator.becomes(&later, "delivered").await;
    operator.runs("restore");
    operator.becomes(&waiting, "queued").await;
    assert_eq!(operator.message(&later).await.unwrap()["status"], 404);
    operator.command("demo", "resume").await;
    operator.becomes(&waiting, "sent").await;
}
