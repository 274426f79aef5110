//! Attacks during the normal load, and what the load's clients notice: a row for each attack, with the rate and
//! the answers' p99 without it and with it.
//!
//! - `attacks`: what each attacker does
//! - `measure`: what the clients and the operating system report for a span of time

mod attacks;
pub(crate) mod measure;

use crate::{
    faults::Scenario,
    field::Field,
    table::{Allowance, Row},
};
use attacks::Attacker;
use futures_util::future::LocalBoxFuture;
use measure::{Beside, MEASURES, Meter};
use postern_tests::Rabbit;
use std::time::Duration;

/// How often a short span is measured at most. What else the machine does may spoil one; an attack that slows the
/// load down does so each time.
const MEASUREMENTS: usize = 6;

/// An attack, which lasts until it is dropped.
type Attack = fn(Attacker) -> LocalBoxFuture<'static, ()>;

/// Further configuration of the attacked programs: a user of Kannel's protocol, whose callbacks may go to this
/// machine.
const CONFIG: &str = r#"
[compat.kannel]
path = "/cgi-bin/sendsms"
[[compat.kannel.users]]
username = "app"
password = "a-password-of-the-campaign"
backend = "hostile"
[compat.callbacks]
allow = ["127.0.0.0/8"]
"#;

/// An attack as a scenario: `attack!("what somebody does", function)`.
macro_rules! attack {
    ($name:literal, $attack:path) => {
        Scenario {
            name: concat!("hostile: ", $name),
            run: |name, extent| Box::pin(beside(name, extent.attack, |attacker| Box::pin($attack(attacker)))),
        }
    };
}

/// The attacks in lanes, while nothing else runs. Each is measured alone, or together with two others if `span`
/// is too short to measure much.
pub(crate) fn lanes(span: Duration) -> Vec<&'static [Scenario]> {
    let lanes = if span < MEASURES { 3 } else { 1 };
    ATTACKS.chunks(ATTACKS.len().div_ceil(lanes)).collect()
}

const ATTACKS: &[Scenario] = &[
    attack!("clients that pipeline and do not read", attacks::never_reading),
    attack!("second heads that never end", attacks::endless_heads),
    attack!("five hundred connections that say nothing", attacks::silent_connections),
    attack!("bodies of a million JSON numbers", attacks::json_numbers),
    attack!("requests that prove nothing", attacks::unproved),
    attack!("guesses at a password, side by side", attacks::guesses),
    attack!("a short message to ten thousand words", attacks::ten_thousand_words),
    attack!("callbacks to an address that never answers", attacks::silent_callbacks),
    attack!("queued messages with large headers", attacks::large_headers),
    attack!("queued messages of 14 MB", attacks::large_contexts),
    attack!("queued messages with forged counts", attacks::forged_counts),
    attack!("queued messages to ten thousand who are refused", attacks::ten_thousand_identities),
];

/// Measures the normal load for `span` without the attack, and then for `span` with it; both again if the attack
/// seems to slow the load down and `span` is short.
async fn beside(name: &'static str, span: Duration, attack: Attack) -> Row {
    let vhost = Rabbit::shared().vhost();
    let mut field = Field::attacked(&vhost.url(), CONFIG).await;
    let (mut measurements, mut idle_memory) = (1, f64::INFINITY);
    let measured = loop {
        field.recovers().await;
        let mut without = Meter::start(&field).run(span).await;
        // What an earlier attack left is not part of it.
        idle_memory = without.memory.min(idle_memory);
        without.memory = idle_memory;
        let attacker = Attacker::new(&field, &vhost).await;
        field.begins();
        let with = tokio::select! {
            with = Meter::start(&field).run(span) => with,
            () = attack(attacker) => panic!("the attack ended by itself"),
        };
        let measured = Beside { span, without, with };
        let slow = measured.slow();
        if slow.is_empty() || span >= MEASURES || measurements == MEASUREMENTS {
            break measured;
        }
        eprintln!("--- {name}: {}; measuring again", slow.join(", "));
        measurements += 1;
    };
    field.recovers().await;
    let row = field.settle(name, Allowance::NONE).await;
    row.beside(measured)
}
