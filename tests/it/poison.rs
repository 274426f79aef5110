//! Messages that crash the process that sends them, or that a sender never finishes: they are dead-lettered, and
//! nothing else is lost.

mod returns;

use postern_tests::{Folder, Launch, Program, Rabbit, eventually};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

const OTHERS: usize = 100;
const CONCURRENCY: usize = 4;
/// A process that is ready this long after the last crash is ended, and the dead letters themselves are read.
const QUIET: Duration = Duration::from_secs(5);
/// `dispatcher.max_deliveries` in most tests.
const MAX_DELIVERIES: usize = 6;
/// The default of `dispatcher.max_deliveries`.
const DEFAULT_MAX_DELIVERIES: usize = 20;

/// A gateway that crashes on some texts; `broker` is its `[broker]`, or empty for the embedded one. It has no
/// spool: a message that is spooled because its confirm was late would be there twice.
fn fragile(folder: &Folder, broker: &str, dispatcher: &str) -> String {
    format!(
        "{broker}\n[ingress]\nspool = false\n[dispatcher]\nconcurrency = {CONCURRENCY}\n{dispatcher}\n\
         [retry]\ndelays = [\"200ms\"]\n[backends.x]\ntype = \"fragile\"\n[backends.x.settings]\nfile = {:?}\n",
        folder.path().join("sent")
    )
}

/// How often the backend began to send each id.
fn sends(folder: &Folder) -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(folder.path().join("sent")).unwrap_or_default();
    let mut sends = BTreeMap::new();
    for line in text.lines() {
        *sends.entry(line.split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    sends
}

/// Queues the texts in order without sending them, and returns their ids.
async fn queue(launch: &Launch, config: &str, texts: &[String]) -> Vec<String> {
    let postern = launch.clone().config(config).start().await;
    let mut ids = Vec::new();
    for text in texts {
        let reply =
            postern.post_json("/v1/messages", &json!({"backend": "x", "to": "+1555", "text": text})).await;
        assert_eq!(reply.status, 202, "{}", reply.text);
        ids.push(reply.json()["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(postern.terminate().await.code, Some(0));
    ids
}

/// Starts the gateway again each time it ends, as a supervisor would, until all of `ids` are sent or
/// dead-lettered and all of `dead` are dead-lettered. Returns the last process and the number of crashes.
async fn supervise(launch: &Launch, folder: &Folder, ids: &[String], dead: &[String]) -> (Program, usize) {
    let (begun, mut quiet) = (Instant::now(), Instant::now());
    let mut crashes = 0;
    let mut postern = launch.spawn();
    let mut died = String::new();
    loop {
        assert!(begun.elapsed() < Duration::from_secs(240), "{crashes} crashes; dead:\n{died}");
        if postern.poll().is_some() {
            crashes += 1;
            quiet = Instant::now();
            let ended = std::mem::replace(&mut postern, launch.spawn()).wait().await;
            died += &dead_lettered(&ended.log);
        }
        // A log line written just before a crash may be lost.
        if quiet.elapsed() > QUIET {
            quiet = Instant::now();
            let ready = postern.ready().await.is_ok_and(|reply| reply.status == 200);
            if !ready {
                continue;
            }
            let ended = postern.terminate().await;
            died += &dead_lettered(&ended.log);
            // It may crash while it is ended.
            if ended.code == Some(0) {
                died.extend(poisoned(launch).await.into_keys());
            } else {
                crashes += 1;
            }
            postern = launch.spawn();
            quiet = Instant::now();
        }
        let died = died.clone() + &dead_lettered(&postern.log().text());
        let sent = sends(folder);
        let done = ids.iter().all(|id| sent.contains_key(id) || died.contains(id));
        if done && dead.iter().all(|id| died.contains(id)) {
            return (postern, crashes);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Ends the gateway once it is ready, when everything that was begun is done.
async fn ends(postern: Program) {
    eventually("the gateway to be ready", async || match postern.ready().await {
        Ok(reply) if reply.status == 200 => Ok(()),
        other => Err(format!("{other:?}; its log:\n{}", postern.log().text())),
    })
    .await;
    let ended = postern.terminate().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
}

/// The log lines about dead-lettered messages.
fn dead_lettered(log: &str) -> String {
    let said = |line: &&str| line.contains("dead-lettered: consumed too often without being acknowledged");
    log.lines().filter(said).map(|line| format!("{line}\n")).collect()
}

/// The dead letters, from the command line.
async fn dead_letters(launch: &Launch) -> Vec<Value> {
    let ended = launch.clone().arg("dead").arg("list").arg("--json").run().await;
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    let listed: Value = serde_json::from_str(&ended.out).unwrap_or_else(|e| panic!("{e} in {}", ended.out));
    listed["letters"].as_array().unwrap().clone()
}

/// How often each id is among the dead letters, all of which must be poison.
async fn poisoned(launch: &Launch) -> BTreeMap<String, usize> {
    let mut copies = BTreeMap::new();
    for letter in dead_letters(launch).await {
        assert_eq!((&letter["code"], &letter["class"]), (&json!("poison"), &json!("unknown")), "{letter}");
        assert_eq!(letter["queue"], "postern.outbound.x");
        *copies.entry(letter["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    copies
}

async fn poison_dies_and_nothing_else_is_lost(broker: &str) {
    let (folder, kinds) = (Folder::new(), ["abort", "overflow", "kill"]);
    let limit = format!("max_deliveries = {MAX_DELIVERIES}");
    let mut texts: Vec<String> = (0..OTHERS).map(|n| format!("fine {n}")).collect();
    for (at, kind) in [20, 22, 70].into_iter().zip(kinds) {
        texts.insert(at, format!("{kind} now"));
    }
    let launch = Launch::program("postern-fragile");
    let ids = queue(&launch, &fragile(&folder, broker, &format!("{limit}\nbackends = []")), &texts).await;
    let launch = launch.config(&fragile(&folder, broker, &limit));
    let poison: Vec<_> = [20, 22, 70].map(|at| ids[at].clone()).into();
    let fine: Vec<_> = ids.iter().filter(|id| !poison.contains(id)).cloned().collect();

    let (postern, crashes) = supervise(&launch, &folder, &fine, &poison).await;
    ends(postern).await;
    let (dead, begun) = (poisoned(&launch).await, sends(&folder));
    assert!(poison.iter().all(|id| dead.contains_key(id)), "{dead:?}");
    let begun = |id: &String| begun.get(id).copied().unwrap_or_default();
    // A crash while messages are published again or dead-lettered duplicates at most the prefetched ones
    // (docs/guarantees.md).
    let copies: usize = dead.values().sum();
    assert!(copies - dead.len() <= crashes * 2 * CONCURRENCY, "{crashes} crashes; {dead:?}");
    for id in &poison {
        assert!(begun(id) <= dead[id] * MAX_DELIVERIES, "begun {} times", begun(id));
    }
    // One of them may be dead-lettered for another's crashes, without being begun.
    let crashed: usize = poison.iter().map(begun).sum();
    assert!((MAX_DELIVERIES..=crashed).contains(&crashes), "{crashes} crashes, {crashed} by poison");

    // The dead letters that only shared a process with poison are redriven and sent.
    for id in &poison {
        let dropped = launch.clone().arg("dead").arg("drop").arg(id).run().await;
        assert_eq!(dropped.code, Some(0), "{}", dropped.log);
    }
    let redriven = launch.clone().arg("dead").arg("redrive").arg("--yes").run().await;
    assert_eq!(redriven.code, Some(0), "{}", redriven.log);
    let (postern, more) = supervise(&launch, &folder, &[], &[]).await;
    eventually("all the others to be sent", async || {
        let sends = sends(&folder);
        let missing: Vec<_> = fine.iter().filter(|id| !sends.contains_key(*id)).collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
    })
    .await;
    ends(postern).await;
    assert_eq!((more, dead_letters(&launch).await.len()), (0, 0));
    let doubles: usize = fine.iter().map(|id| sends(&folder)[id] - 1).sum();
    let caught: usize = dead.iter().filter(|(id, _)| !poison.contains(id)).map(|(_, copies)| copies).sum();
    assert!(doubles <= crashes * 2 * CONCURRENCY + caught, "{doubles} doubles in {crashes} crashes");
    println!("{crashes} crashes, {doubles} doubles of {OTHERS}, {caught} of them dead with the poison");
}

#[tokio::test]
async fn what_crashes_its_process_dies_and_nothing_else_is_lost_embedded() {
    poison_dies_and_nothing_else_is_lost("").await;
}

#[tokio::test]
async fn what_crashes_its_process_dies_and_nothing_else_is_lost_rabbitmq() {
    let vhost = Rabbit::shared().vhost();
    poison_dies_and_nothing_else_is_lost(&vhost.config("")).await;
}

/// It is dead-lettered neither before the limit nor after it.
async fn a_message_kills_as_many_processes_as_the_limit_says(broker: &str) {
    let folder = Folder::new();
    let launch = Launch::program("postern-fragile");
    let texts = ["kill now".to_owned()];
    let ids = queue(&launch, &fragile(&folder, broker, "backends = []"), &texts).await;
    let launch = launch.config(&fragile(&folder, broker, ""));
    let (postern, crashes) = supervise(&launch, &folder, &[], &ids).await;
    ends(postern).await;
    assert_eq!((crashes, sends(&folder)[&ids[0]]), (DEFAULT_MAX_DELIVERIES, DEFAULT_MAX_DELIVERIES));
    assert_eq!(poisoned(&launch).await, BTreeMap::from([(ids[0].clone(), 1)]));
}

#[tokio::test]
async fn a_message_kills_as_many_processes_as_the_limit_says_embedded() {
    a_message_kills_as_many_processes_as_the_limit_says("").await;
}

#[tokio::test]
async fn a_message_kills_as_many_processes_as_the_limit_says_rabbitmq() {
    let vhost = Rabbit::shared().vhost();
    a_message_kills_as_many_processes_as_the_limit_says(&vhost.config("")).await;
}

/// The queue in which earlier versions isolated messages is emptied, and then deleted.
#[tokio::test]
async fn what_an_earlier_version_set_apart_is_sent_and_its_queue_is_deleted() {
    let (vhost, folder) = (Rabbit::shared().vhost(), Folder::new());
    let has_queue = || vhost.queues().iter().any(|queue| queue.name == "postern.quarantine");
    vhost.declare_classic("postern.quarantine");
    let mut headers = lapin::types::FieldTable::default();
    let from = lapin::types::AMQPValue::LongString("postern.outbound.x".into());
    headers.insert("x-postern-queue".into(), from);
    headers.insert("x-postern-crashes".into(), lapin::types::AMQPValue::LongLongInt(2));
    let id = uuid::Uuid::now_v7().to_string();
    let body = json!({"id": id, "backend": "x", "identities": ["+1555"], "text": "fine"}).to_string();
    let tap = vhost.tap().await;
    tap.publish(
        "",
        "postern.quarantine",
        body.as_bytes(),
        lapin::BasicProperties::default().with_headers(headers),
    )
    .await;
    let launch = Launch::program("postern-fragile").config(&fragile(&folder, &vhost.config(""), ""));
    let postern = launch.start().await;
    eventually("it to be sent", async || match sends(&folder).get(&id) {
        Some(1) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    tap.depth_becomes("postern.quarantine", 0).await;
    assert_eq!(postern.terminate().await.code, Some(0));
    assert!(has_queue(), "it held a message when the topology was declared");
    let postern = launch.start().await;
    eventually("the queue to be deleted", async || if has_queue() { Err(String::new()) } else { Ok(()) })
        .await;
    assert_eq!(postern.terminate().await.code, Some(0));
}

/// A panic and a sender that never answers are failures: the messages are retried by the schedule and then
/// dead-lettered.
#[tokio::test]
async fn what_panics_or_hangs_is_tried_again_and_dies() {
    let folder = Folder::new();
    let launch = Launch::program("postern-fragile");
    let texts: Vec<String> = ["panic now", "hang now"]
        .into_iter()
        .map(str::to_owned)
        .chain((0..20).map(|n| format!("fine {n}")))
        .collect();
    let ids = queue(&launch, &fragile(&folder, "", "backends = []"), &texts).await;
    let launch = launch.config(&fragile(&folder, "", ""));
    let postern = launch.start().await;
    let dead = [("backend", "x"), ("class", "unknown")];
    postern.metric_becomes("postern_dead_letters_total", &dead, 2.0).await;
    postern
        .metric_becomes("postern_dispatch_recipients_total", &[("backend", "x"), ("outcome", "sent")], 20.0)
        .await;
    postern.metric_becomes("postern_dead_letters_waiting", &[], 2.0).await;
    assert_eq!(postern.terminate().await.code, Some(0));
    let sends = sends(&folder);
    assert_eq!(sends[&ids[0]], 2, "at once and after the only delay");
    assert_eq!(sends[&ids[1]], 2);
    let mut codes: Vec<_> =
        dead_letters(&launch).await.iter().map(|l| (l["code"].clone(), l["attempts"].clone())).collect();
    codes.sort_by_key(|(code, _)| code.to_string());
    assert_eq!(codes, [(json!("panic"), json!(2)), (json!("timeout"), json!(2))]);
}
