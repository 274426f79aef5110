//! Measures the embedded broker: confirmed publishes a second, memory and disk with a million messages waiting,
//! and how fast they are consumed.
//!
//! `cargo run --release -p postern-bench --example embedded_bench [FOLDER] [MESSAGES]`. The folder determines
//! which disk is measured. It must not exist, and is removed at the end.
#![allow(clippy::print_stdout)]

mod load;

use anyhow::ensure;
use load::address;
use postern_broker::{Broker, Envelope};
use postern_store::embedded::EmbeddedBroker;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

const MEASURED: Duration = Duration::from_secs(4);
const BODY: usize = 300;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "embedded-bench".to_owned());
    let folder = Path::new(&folder);
    let messages = std::env::args().nth(2).map_or(Ok(1_000_000), |count| count.parse())?;
    ensure!(!folder.exists(), "{} exists already", folder.display());
    let outcome = measure(folder, messages).await;
    std::fs::remove_dir_all(folder)?;
    outcome
}

async fn measure(folder: &Path, messages: u64) -> anyhow::Result<()> {
    for in_flight in [1, 16, 64, 256] {
        let broker = open(folder).await?;
        publish(&broker, in_flight).await?;
        drain(&broker).await?;
        broker.close().await;
    }

    let broker = open(folder).await?;
    let start = Instant::now();
    load::fill(&broker, messages, 256, message).await?;
    println!("{messages} messages published in {:.1} s (256 in flight)", start.elapsed().as_secs_f64());
    report("with all of them waiting", folder)?;
    broker.close().await;
    drop(broker);

    let start = Instant::now();
    let broker = open(folder).await?;
    println!("opened again in {:.2} s", start.elapsed().as_secs_f64());
    report("with all of them waiting, after opening again", folder)?;

    let start = Instant::now();
    let drained = drain(&broker).await?;
    ensure!(drained == messages, "{drained} of {messages} were drained");
    println!("drained at {:.0}/s (prefetch 256, each acked)", drained as f64 / start.elapsed().as_secs_f64());
    report("just drained", folder)?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    report("3 s later", folder)?;
    broker.close().await;
    Ok(())
}

async fn open(folder: &Path) -> anyhow::Result<Arc<EmbeddedBroker>> {
    Ok(Arc::new(EmbeddedBroker::open(folder, load::options(64 * 1024 * 1024)?).await?))
}

fn message(n: u64) -> Envelope {
    // Not compressible, like a text with ids.
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let body: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state & 0x7f) as u8
    })
    .take(BODY)
    .collect();
    Envelope {
        message_id: Some(format!("0199b2a4-0000-7000-8000-{n:012x}")),
        kind: Some("postern.outbound.v1".to_owned()),
        content_type: Some("application/json".to_owned()),
        body: body.into(),
        ..Envelope::default()
    }
}

/// Publishes with `in_flight` tasks, each one message after the other.
async fn publish(broker: &Arc<EmbeddedBroker>, in_flight: u64) -> anyhow::Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    let start = Instant::now();
    for task in 0..in_flight {
        let (broker, address) = (Arc::clone(broker), address()?);
        tasks.spawn(async move {
            let mut times = Vec::new();
            while start.elapsed() < MEASURED {
                let message = message(task << 32 | times.len() as u64);
                let before = Instant::now();
                broker.publish(vec![(address.clone(), message)]).await?;
                times.push(before.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    let mut times = Vec::new();
    while let Some(done) = tasks.join_next().await {
        times.extend(done??);
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    println!(
        "{in_flight:>4} in flight: {:>7.0} confirmed publishes/s, median {:.2} ms, p99 {:.2} ms, longest {:.1} ms",
        times.len() as f64 / start.elapsed().as_secs_f64(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
    Ok(())
}

/// Takes and acknowledges everything. Returns how many messages that were.
async fn drain(broker: &EmbeddedBroker) -> anyhow::Result<u64> {
    let waiting = broker.depth(&address()?.queue()).await?.ready;
    load::empty(broker, waiting, 256).await?;
    Ok(waiting)
}

fn report(when: &str, folder: &Path) -> anyhow::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or_default() / 1024
    };
    let disk = disk_use(folder)? / 1024 / 1024;
    println!("{when}: {} MiB resident (highest {}), {disk} MiB on disk", field("VmRSS:"), field("VmHWM:"));
    Ok(())
}

/// The disk space that the folder takes, without the holes in sparse files.
fn disk_use(folder: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut total = 0;
    for entry in std::fs::read_dir(folder)? {
        // Files appear and disappear while the store works.
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else { continue };
        total +=
            if metadata.is_dir() { disk_use(&entry.path()).unwrap_or(0) } else { metadata.blocks() * 512 };
    }
    Ok(total)
}
