//! A redrive that is killed again and again loses nothing and, with the embedded store, duplicates nothing.

use super::{NUMBER, TEXT, config, told};
use postern_tests::{Answer, Launch, Provider, Proxy, Rabbit, eventually, fetch};
use reqwest::Method;
use serde_json::json;
use std::{collections::BTreeMap, fs, path::Path, time::Duration};

/// How many more bytes are written before each further kill: less than a fifth of one batch.
const STEP: u64 = 32 << 10;

/// The sizes of all files below `folder`.
fn bytes_in(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes_in(&entry.path()),
        // A file that has been removed meanwhile has no size.
        found => found.map_or(0, |found| found.len()),
    };
    entries.map(size).sum()
}

/// Kills the redrive command again and again until it completes. Before each kill it may write more than before,
/// to its store or, through `proxy`, to RabbitMQ.
async fn interrupted(broker: &str, proxy: Option<&Proxy>, count: usize) {
    let provider = Provider::start().await;
    let launch = Launch::gateway().config(&config(broker, &provider, ""));
    let postern = launch.start().await;
    provider.otherwise(|_| Answer::status(400));
    let mut posts = tokio::task::JoinSet::new();
    for part in 0..8 {
        let request = || postern.request(Method::POST, "/v1/messages");
        let requests: Vec<_> = (part..count)
            .step_by(8)
            .map(|n| request().json(&json!({"backend": "a", "to": NUMBER, "text": format!("{TEXT} {n}")})))
            .collect();
        posts.spawn(async move {
            let mut ids = Vec::new();
            for request in requests {
                let reply = fetch(request).await.unwrap();
                assert_eq!(reply.status, 202, "{}", reply.text);
                ids.push(reply.json()["id"].as_str().unwrap().to_owned());
            }
            ids
        });
    }
    let mut accepted: Vec<String> = posts.join_all().await.concat();
    let labels = [("backend", "a"), ("class", "permanent")];
    postern.metric_becomes("postern_dead_letters_total", &labels, count as f64).await;
    assert_eq!(postern.terminate().await.code, Some(0));

    let redrive = launch.clone().arg("dead").arg("redrive").arg("--all");
    let (mut kills, mut halfway) = (0, 0);
    assert_eq!(told(&launch, &["redrive", "--dry-run"]).await["done"], count);
    // How far the command is depends on what it has written, not on how long it runs.
    let store = launch.folder().path().join("postern-data");
    loop {
        let mut running = redrive.spawn();
        let more = (kills + 1) * STEP;
        if let Some(proxy) = proxy {
            proxy.pass_up(Some(more));
            while running.poll().is_none() && !proxy.has_passed_all() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        } else {
            let enough = bytes_in(&store) + more;
            while running.poll().is_none() && bytes_in(&store) < enough {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        let code = running.kill_unless_ended();
        if let Some(proxy) = proxy {
            proxy.cut();
            proxy.pass_up(None);
        }
        if let Some(code) = code {
            assert_eq!(code, 0);
            break;
        }
        kills += 1;
        // A moment later, RabbitMQ requeues the deliveries of a killed process.
        let left = eventually("what is left can be counted", async || {
            let left = told(&launch, &["list", "--limit", "1"]).await["waiting"].as_u64().unwrap();
            if left <= count as u64 { Ok(left) } else { Err(left) }
        })
        .await;
        halfway += usize::from(left > 0 && left < count as u64);
        assert!(kills < 200, "it never comes to its end");
    }
    assert_eq!(told(&launch, &["list"]).await["waiting"], 0);

    provider.otherwise(|_| Answer::ok(""));
    let before = provider.requests().len();
    let postern = launch.start().await;
    let mut sent: BTreeMap<String, usize> = BTreeMap::new();
    let mut missing = count;
    while missing > 0 {
        (sent, missing) = eventually("further messages are sent", async || {
            let mut sent: BTreeMap<String, usize> = BTreeMap::new();
            for request in &provider.requests()[before..] {
                *sent.entry(request.json()["id"].as_str().unwrap().to_owned()).or_default() += 1;
            }
            match accepted.iter().filter(|id| !sent.contains_key(*id)).count() {
                fewer if fewer < missing => Ok((sent, fewer)),
                _ => Err(format!("{missing} are missing")),
            }
        })
        .await;
    }
    if proxy.is_none() {
        // Wait until everything else in the queue is sent, duplicates included.
        postern.metric_becomes("postern_queue_messages", &[("queue", "postern.outbound.a")], 0.0).await;
        assert_eq!(postern.terminate().await.code, Some(0));
        let requests = provider.requests().len() - before;
        assert_eq!(requests, count, "{} doubles in {kills} kills", requests - count);
    }
    accepted.sort();
    assert_eq!(sent.keys().cloned().collect::<Vec<_>>(), accepted, "no others");
    let doubles = sent.values().sum::<usize>() - count;
    println!("{kills} kills, {halfway} of them halfway, {doubles} doubles of {count}");
    // For each kill: 256 that are replaced together, and 256 before them whose acknowledgements are in flight.
    assert!(doubles <= usize::try_from(kills).unwrap() * 512, "{doubles} doubles in {kills} kills");
    assert!(halfway > 0, "{kills} kills, none of them halfway");
}

#[tokio::test]
async fn a_redrive_that_is_killed_loses_and_doubles_nothing_embedded() {
    interrupted("", None, 1500).await;
}

#[tokio::test]
async fn a_redrive_that_is_killed_loses_nothing_rabbitmq() {
    let vhost = Rabbit::shared().vhost();
    let proxy = Proxy::to(vhost.port()).await;
    let broker = format!("[broker]\nurl = \"{}\"\n", vhost.url_at(proxy.port()));
    interrupted(&broker, Some(&proxy), 1500).await;
}
