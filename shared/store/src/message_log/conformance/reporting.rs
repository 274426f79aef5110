//! Delivery reports that spell the number differently from the message.

use super::*;
use EventKind::{CalledBack, Delivered};

/// A report that comes after two people were sent a message, or one person.
struct Respelled {
    what: &'static str,
    /// The provider's id of the message to each recipient.
    sent_as: &'static [&'static str],
    kind: EventKind,
    identity: &'static str,
    external_id: Option<&'static str>,
    /// The recipients' states afterwards.
    states: &'static str,
}

const CASES: [Respelled; 7] = {
    const TWO: Respelled = Respelled {
        what: "without a plus",
        sent_as: &["A", "B"],
        kind: Delivered,
        identity: "15550000001",
        external_id: None,
        states: "delivered sent",
    };
    const ONE: Respelled = Respelled { sent_as: &["A"], states: "delivered", ..TWO };
    [
        TWO,
        Respelled { what: "with 00", identity: "0015550000001", ..TWO },
        Respelled { what: "with white space", identity: "+1 555 000 0001", ..TWO },
        Respelled { what: "with hyphens", identity: "1-555-000-0001", ..TWO },
        Respelled { what: "another number", identity: "15550000003", states: "sent sent delivered", ..TWO },
        // Nothing says for sure that it is the only recipient's number.
        Respelled {
            what: "a national number",
            identity: "0550 1",
            external_id: Some("A"),
            states: "sent delivered",
            ..ONE
        },
        Respelled { what: "called back", kind: CalledBack, states: "sent", ..ONE },
    ]
};

/// The events of a message, the last of which is from the report.
fn life(case: &Respelled, id: MessageId) -> Result<Vec<Event>> {
    let people: Vec<usize> = (1..=case.sent_as.len()).collect();
    let mut events = vec![accepted(id, 0, &people)?];
    for (person, external_id) in people.iter().zip(case.sent_as) {
        events.push(sent(id, 1, *person, external_id)?);
    }
    let external_id = case.external_id.map(str::to_owned);
    events.push(Event { external_id, ..event(id, 2, case.kind)?.about(case.identity.parse()?) });
    Ok(events)
}

pub(super) async fn a_report_in_another_spelling_finds_its_recipient(
    storage: Arc<dyn LogStorage>,
) -> Result<()> {
    for keeping in [Keeping::full(), states("a key of the test")] {
        let log = storage.open(keeping).await?;
        for case in &CASES {
            let [together, apart] = [(); 2].map(|()| MessageId::new());
            log.record(&life(case, together)?).await?;
            for event in life(case, apart)? {
                log.record(&[event]).await?;
            }
            for id in [together, apart] {
                let is = message(&log, id).await?;
                same(case.what, &words(&is)?.join(" "), &case.states.to_owned())?;
                let recipient = is.events.last().and_then(|event| event.identity.clone());
                ensure!(recipient.is_some(), "{}: the report is about nobody", case.what);
                // The same report comes again.
                log.record(&life(case, id)?).await?;
                same(case.what, &message(&log, id).await?, &is)?;
            }
        }
        log.close().await;
    }
    Ok(())
}

/// A report about a person whom the log has forgotten, with the provider's id of a request to two people, tells
/// nothing about the other one.
pub(super) async fn a_report_about_a_forgotten_person_is_about_nobody_else(
    storage: Arc<dyn LogStorage>,
) -> Result<()> {
    let log = storage.open(Keeping::full()).await?;
    let id = MessageId::new();
    log.record(&[accepted(id, 0, &[1, 2])?, sent(id, 1, 1, "X")?, sent(id, 1, 2, "X")?]).await?;
    same("forgotten", &log.forget(&person(1)?).await?, &1)?;
    let report = event(id, 2, Delivered)?.about("15550000001".parse()?);
    log.record(&[Event { external_id: Some("X".to_owned()), ..report }]).await?;
    let left = message(&log, id).await?;
    same("states", &words(&left)?.join(" "), &"sent delivered".to_owned())?;
    same("forgotten again", &log.forget(&"15550000001".parse()?).await?, &1)?;
    same("states", &words(&message(&log, id).await?)?.join(" "), &"sent".to_owned())?;
    log.close().await;
    Ok(())
}

/// Neither the message's spelling nor the report's is left.
pub(super) async fn forgetting_erases_what_was_reported_in_another_spelling(
    storage: Arc<dyn LogStorage>,
) -> Result<()> {
    for keeping in [Keeping::full(), states("a key of the test")] {
        let log = storage.open(keeping).await?;
        let [alone, both] = [(); 2].map(|()| MessageId::new());
        log.record(&[accepted(alone, 0, &[1])?, accepted(both, 0, &[1, 2])?]).await?;
        for (id, identity) in [(alone, "0015550000001"), (both, "1 555 000 0001")] {
            log.record(&[event(id, 1, Delivered)?.about(identity.parse()?)]).await?;
        }
        same("forgotten", &log.forget(&person(1)?).await?, &2)?;
        ensure!(log.message(alone).await?.is_none(), "a message of that person alone is there");
        let left = message(&log, both).await?;
        same("states", &words(&left)?.join(" "), &"queued".to_owned())?;
        same("events", &left.events.len(), &1)?;
        for identity in ["0015550000001", "1 555 000 0001"] {
            same("again", &log.forget(&identity.parse()?).await?, &0)?;
        }
        log.close().await;
    }
    Ok(())
}
