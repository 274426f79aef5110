//! Repeats what Postern itself does for a message, without sockets and without a broker, so that
//! `tests/bench/guard` can count its instructions.

use anyhow::{Result, ensure};
use async_trait::async_trait;
use clap::{Parser, ValueEnum};
use postern_broker::{
    Address, Broker, BrokerError, BrokerStatus, Consumer, Depth, Envelope, QueueName, header,
};
use postern_config::{Config, ProviderRegistry};
use postern_service::{metrics::Metrics, telemetry};
use std::sync::Arc;
use tokio::sync::watch;

const CONFIG: &str = r#"
[log]
format = "json"
[backends.bench]
type = "http"
[backends.bench.send]
url = "http://127.0.0.1:9009/send"
form = { to = "{{ identity }}", text = "{{ text }}" }
"#;
const FORM: &str = "identity=%2B15551234567&text=Your+appointment+is+on+Monday+at+nine.+Answer+1+to+confirm.";
const OUTBOUND: &str = r#"{"id":"0199b2a4-0000-7000-8000-000000000001","backend":"bench","identities":["+15551234567"],"text":"Your appointment is on Monday at nine. Answer 1 to confirm.","context":{},"priority":"normal","created_at":"2026-11-22T17:00:00.123Z","expires_at":null,"attempt":1}"#;
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[derive(Debug, Parser)]
struct Command {
    #[arg(value_enum)]
    path: Path,
    times: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Path {
    /// A form posted, up to the message for the broker, and the answer
    Accept,
    /// A queued message, up to the request, and from the answer to the report
    Send,
}

fn main() -> Result<()> {
    let Command { path, times } = Command::parse();
    let config = Config::parse("the guard's", Some(CONFIG), [], &ProviderRegistry::builtin())?;
    let _log = telemetry::init(&config.log, &Metrics::new("guard", "0")?)?;
    let done = match path {
        Path::Accept => {
            postern_ingress::measure::accept(config, Arc::new(Nowhere), "/backends/bench", FORM, times)
        }
        Path::Send => {
            let original = Envelope { body: OUTBOUND.into(), ..Envelope::default() };
            let original = original.with(header::TRACEPARENT, TRACE);
            postern_dispatcher::measure::send(&config, &"bench".parse()?, &original, times)
        }
    };
    let done = done.map_err(anyhow::Error::msg)?;
    ensure!(times == 0 || done >= times, "only {done} of {times} were done");
    Ok(())
}

/// A broker that accepts everything at once and stores nothing.
#[derive(Debug)]
struct Nowhere;

#[async_trait]
impl Broker for Nowhere {
    async fn publish(&self, _: Vec<(Address, Envelope)>) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn consume(&self, _: &QueueName, _: u16) -> Result<Consumer, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn depth(&self, _: &QueueName) -> Result<Depth, BrokerError> {
        Ok(Depth::default())
    }

    fn status(&self) -> watch::Receiver<BrokerStatus> {
        watch::Sender::new(BrokerStatus::Ready).subscribe()
    }

    async fn close(&self) {}
}
