//! Messages that came back too often: set apart, tried alone, given up.

use crate::setup::{Custom, Running, message, states, until};
use postern_broker::{Envelope, HeaderValue, header};
use postern_dispatcher::backends::{Engines, Outcomes, Sent};
use postern_shared::{error::Failure, message::State};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

const DEMO: &str = "[dispatcher]\nmax_deliveries = 6\n[backends.demo]\ntype = \"custom\"\n";
const QUEUE: &str = "postern.outbound.demo";

/// Who was sent to, in order.
type Asked = Arc<Mutex<Vec<String>>>;

/// A sender that notes whom it is asked for, and waits for `gate` where that is `slow`.
fn noting(gate: &Arc<Semaphore>) -> (Engines, Asked) {
    let (asked, gate) = (Asked::default(), gate.clone());
    let noted = asked.clone();
    let engines = Engines::builtin().with("custom", move |_| {
        let (asked, gate) = (noted.clone(), gate.clone());
        Ok(Custom(move |identities: Vec<String>| {
            let (asked, gate) = (asked.clone(), gate.clone());
            async move {
                asked.lock().unwrap().push(identities[0].clone());
                if identities[0] == "slow" {
                    let _ = gate.acquire().await;
                }
                identities.iter().map(|_| Ok::<_, Failure>(Sent::default())).collect::<Outcomes>()
            }
        }))
    });
    (engines.unwrap(), asked)
}

fn to(identity: &str) -> Envelope {
    let message_id = Some(postern_shared::message::MessageId::new().to_string());
    Envelope { message_id, body: message(&[identity]).into(), ..Envelope::default() }.with("x-own", 7)
}

/// What is in the quarantine, taken alone so often before.
fn apart(identity: &str, queue: &str, crashes: i64) -> Envelope {
    to(identity).with(header::QUEUE, queue).with(header::CRASHES, crashes)
}

#[tokio::test]
async fn what_came_back_often_is_sent_by_way_of_the_quarantine() {
    let (engines, asked) = noting(&Arc::new(Semaphore::new(1)));
    let running = Running::start(DEMO, &engines);
    running.broker.put_returned(QUEUE, to("+1"), 2);
    running.broker.put_returned(QUEUE, to("+2"), 3);
    let reports = running.reports(2).await;
    assert!(reports.iter().all(|report| report.recipients[0].state == State::Sent));
    running.idle().await;
    let mut all = asked.lock().unwrap().clone();
    all.sort();
    assert_eq!(all, ["+1", "+2"], "once each");
    let text = running.metrics.text();
    assert!(text.contains("postern_quarantined_total 1"), "only the second was set apart: {text}");
    assert!(running.broker.waiting("postern.quarantine").is_empty());
    running.stop().await;
}

#[tokio::test]
async fn what_crashed_alone_too_often_is_dead_unsent_and_reported() {
    let (engines, asked) = noting(&Arc::new(Semaphore::new(1)));
    let running = Running::start(DEMO, &engines);
    running.broker.put_returned("postern.quarantine", apart("+1", QUEUE, 1), 2);
    // One whose reading may be what crashes: nothing looks into it.
    running.broker.put_returned("postern.quarantine", apart("+2", QUEUE, 0), 4);
    let dead = running.dead(2).await;
    for letter in &dead {
        assert_eq!(letter.text_header(header::CODE), Some("poison"));
        assert_eq!(letter.text_header(header::CLASS), Some("unknown"));
        assert_eq!(letter.text_header(header::QUEUE), Some(QUEUE));
        assert!(letter.text_header(header::DEAD_AT).unwrap().parse::<jiff::Timestamp>().is_ok());
        assert_eq!(letter.headers.get("x-own"), Some(&HeaderValue::Integer(7)));
        assert_eq!(letter.headers.get(header::CRASHES), None);
    }
    let reports = running.reports(1).await;
    assert_eq!(states(&reports[0]), [("+1", State::Unknown)]);
    running.idle().await;
    assert_eq!(running.broker.waiting("postern.reports").len(), 1);
    assert!(asked.lock().unwrap().is_empty(), "neither was sent");
    running.stop().await;
}

#[tokio::test]
async fn what_crashed_alone_before_is_tried_while_nothing_else_is() {
    let gate = Arc::new(Semaphore::new(0));
    let (engines, asked) = noting(&gate);
    let broker = crate::memory::MemoryBroker::new();
    // There when the dispatcher starts: it comes before everything else.
    broker.put_returned("postern.quarantine", apart("slow", QUEUE, 1), 0);
    for n in 0..3 {
        broker.put_returned(QUEUE, to(&format!("+{n}")), 0);
    }
    let running = Running::on(broker, DEMO, &engines);
    until("the trial", || !asked.lock().unwrap().is_empty()).await;
    until("all to be taken", || running.broker.leased() == 4).await;
    assert_eq!(*asked.lock().unwrap(), ["slow"], "the others wait");
    gate.add_permits(1);
    running.reports(4).await;
    assert_eq!(asked.lock().unwrap().len(), 4);
    running.stop().await;
}

#[tokio::test]
async fn what_others_serve_goes_back_and_what_says_nothing_dies() {
    let (engines, asked) = noting(&Arc::new(Semaphore::new(1)));
    let running = Running::start(DEMO, &engines);
    running.broker.put_returned("postern.quarantine", apart("+1", "postern.outbound.other.bulk", 2), 0);
    until("its way back", || running.broker.waiting("postern.outbound.other.bulk").len() == 1).await;
    let back = running.broker.waiting("postern.outbound.other.bulk").remove(0);
    assert_eq!(back.integer_header(header::CRASHES), Some(2), "it will be set apart again");
    running.broker.put_returned("postern.quarantine", to("+2"), 0);
    let dead = running.dead(1).await;
    assert!(dead[0].text_header(header::REASON).unwrap().contains("which queue"), "{dead:?}");
    assert!(asked.lock().unwrap().is_empty());
    running.stop().await;
}
