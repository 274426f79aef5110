//! Which reports about a backend count.

use super::*;
use std::time::Duration;

#[test]
fn a_backend_is_ready_unless_its_connector_or_its_flow_says_otherwise() {
    let health = HealthRegistry::default();
    let demo: BackendName = "demo".parse().unwrap();
    let reporter = health.reporter(&demo);
    assert_eq!(health.all(), [(demo.clone(), BackendHealth::Ready)]);
    assert!(health.not_ready().is_empty());

    reporter.paused(Instant::now(), "its provider is down");
    let line = health.not_ready()[0].1.to_string();
    assert_eq!(line, "is paused: its provider is down; the next message is tried at once");
    reporter.paused(Instant::now() + Duration::from_secs(60), "its provider is down");
    assert!(health.of(&demo).to_string().ends_with("the next message is tried in 60 s"));

    reporter.not_bound("connection refused");
    assert_eq!(health.of(&demo).to_string(), "is not bound: connection refused");
    reporter.resumed();
    assert_eq!(health.of(&demo), BackendHealth::NotBound { why: "connection refused".to_owned() });
    reporter.not_started("no such folder");
    reporter.bound();
    assert_eq!(health.of(&demo).to_string(), "is not bound: no such folder");
    reporter.started();
    assert_eq!(health.of(&demo), BackendHealth::Ready);
}

#[test]
fn what_was_replaced_or_removed_has_no_say() {
    let health = HealthRegistry::default();
    let demo: BackendName = "demo".parse().unwrap();
    let old = health.reporter(&demo);
    old.not_bound("connection refused");
    health.begin(&demo);
    assert_eq!(health.of(&demo), BackendHealth::Ready);
    old.paused(Instant::now(), "its provider is down");
    assert_eq!(health.of(&demo), BackendHealth::Ready);
    let new = health.reporter(&demo);
    new.not_bound("no such host");
    old.bound();
    assert_eq!(health.of(&demo).to_string(), "is not bound: no such host");
    health.end(&demo);
    new.not_bound("no such host");
    assert!(health.all().is_empty());
    health.begin(&demo);
    new.not_bound("no such host");
    assert_eq!(health.all(), [(demo, BackendHealth::Ready)]);
}

#[test]
fn the_webhook_is_no_backend_and_is_there_only_if_it_is_called() {
    let health = HealthRegistry::default();
    assert_eq!(health.application(), None);
    let reporter = health.application_reporter();
    assert_eq!(health.application(), Some(BackendHealth::Ready));
    reporter.paused(Instant::now(), "it is down");
    let says = health.application().unwrap().to_string();
    assert_eq!(says, "is paused: it is down; the next message is tried at once");
    assert!(health.all().is_empty());
}

#[test]
fn what_an_operator_paused_is_paused_whoever_serves_it() {
    let health = HealthRegistry::default();
    let [demo, other]: [BackendName; 2] = ["demo", "other"].map(|name| name.parse().unwrap());
    health.reporter(&demo).not_bound("connection refused");
    let pause = Pause { since: "2026-11-27T08:00:00Z".parse().unwrap(), by: "ops@desk".to_owned() };
    health.paused_by_operators(&[(demo.clone(), pause.clone()), (other.clone(), pause)].into());
    let said = "is paused by an operator (since 2026-11-27T08:00:00.000Z, by ops@desk); its messages wait";
    assert_eq!(health.not_ready().len(), 2);
    assert!(health.not_ready().iter().all(|(_, health)| health.to_string() == said));
    assert_eq!(health.all().len(), 1, "the other is served elsewhere");
    health.paused_by_operators(&BTreeMap::new());
    assert_eq!(health.of(&demo).to_string(), "is not bound: connection refused");
    assert_eq!(health.of(&other), BackendHealth::Ready);
}

#[test]
fn a_backend_of_another_process_counts_as_ready_and_what_that_process_told_counts_for_a_while() {
    let health = HealthRegistry::default();
    let other: BackendName = "other".parse().unwrap();
    let down = || BackendHealth::NotBound { why: "connection refused".to_owned() };
    let told = |not_sending, until| health.told("a", not_sending, until);
    assert_eq!(health.elsewhere(&other), None);
    let later = Instant::now() + Duration::from_secs(60);
    told([(other.clone(), down())].into(), later);
    assert_eq!((health.of(&other), health.elsewhere(&other)), (BackendHealth::Ready, Some(down())));
    assert!(health.not_sending().is_empty(), "that is not of this process");
    health.told("b", BTreeMap::new(), later);
    assert_eq!(health.elsewhere(&other), Some(down()), "another process's");
    told(BTreeMap::new(), later);
    assert_eq!(health.elsewhere(&other), None);
    told([(other.clone(), down())].into(), Instant::now());
    assert_eq!(health.elsewhere(&other), None, "too old");
}

#[test]
fn what_a_process_tells_is_of_its_own_backends_and_not_what_operators_commanded() {
    let health = HealthRegistry::default();
    let [demo, held]: [BackendName; 2] = ["demo", "held"].map(|name| name.parse().unwrap());
    let (reporter, _held) = (health.reporter(&demo), health.reporter(&held));
    health.application_reporter().paused(Instant::now(), "it is down");
    let pause = Pause { since: "2026-11-27T08:00:00Z".parse().unwrap(), by: "ops@desk".to_owned() };
    health.paused_by_operators(&[(held, pause)].into());
    assert!(health.not_sending().is_empty());
    reporter.not_bound("connection refused");
    assert_eq!(health.not_sending().into_keys().collect::<Vec<_>>(), [demo]);
}
