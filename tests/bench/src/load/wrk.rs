//! Closed-loop load by wrk: each connection sends the next request when it has the answer. Use it for the
//! highest rate; its latencies leave out how long a request would have waited for its turn.

use super::Request;
use anyhow::{Context, Result, ensure};
use std::{io::Write as _, time::Duration};
use tokio::process::Command;

/// The result of a run of load.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rate {
    /// 2xx answers a second.
    pub(crate) per_second: f64,
    /// The number of 2xx answers.
    pub(crate) answers: f64,
}

/// A script that prints the figures unrounded; wrk itself rounds them to two digits.
const DONE: &str = "done = function(summary, latency, requests)\n\
         io.write(string.format('@ %d %d %d %d\\n', summary.duration, summary.requests, summary.errors.status,\n\
         summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))\nend";

/// Sends `post` over `connections` connections for `duration`.
///
/// # Errors
/// If wrk cannot run or an answer is not 2xx.
pub(crate) async fn load(post: &Request, connections: usize, duration: Duration) -> Result<Rate> {
    let mut script = tempfile::Builder::new().suffix(".lua").tempfile()?;
    writeln!(
        script,
        "wrk.method = '{}'\nwrk.headers['Content-Type'] = '{}'\nwrk.body = [==[{}]==]\n{DONE}",
        post.method, post.content_type, post.body,
    )?;
    let seconds = duration.as_secs().max(1);
    let run = Command::new("wrk")
        .args(["-t", "2", "-c", &connections.to_string(), "-d", &format!("{seconds}s"), "--timeout", "30s"])
        .arg("-s")
        .arg(script.path())
        .arg(format!("{}{}", post.base, post.path))
        .output()
        .await
        .context("start wrk")?;
    let told = String::from_utf8_lossy(&run.stdout);
    let line = told
        .lines()
        .find_map(|line| line.strip_prefix("@ "))
        .with_context(|| format!("wrk said {told}{}", String::from_utf8_lossy(&run.stderr)))?;
    let figures: Vec<f64> = line.split(' ').filter_map(|figure| figure.parse().ok()).collect();
    let [micros, requests, refused, broken] = figures[..] else { anyhow::bail!("wrk said {line}") };
    ensure!(requests > 0.0, "no answer within {seconds} s: {}{}", post.base, post.path);
    ensure!(
        refused == 0.0 && broken == 0.0,
        "{refused} answers were not 2xx, {broken} requests broke: {}{}",
        post.base,
        post.path
    );
    Ok(Rate { per_second: requests / (micros / 1e6), answers: requests })
}
