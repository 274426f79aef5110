use super::*;
use postern_broker::{Browse, Replacement, header};

async fn browse<'b>(broker: &'b EmbeddedBroker, named: &[&str]) -> Box<dyn Browse + 'b> {
    let named: Vec<String> = named.iter().map(ToString::to_string).collect();
    broker.browse(&queue(), &named).await.unwrap().expect("its queues can be looked at")
}

/// The numbers and ids of all browsed messages.
async fn all(browse: &mut dyn Browse) -> Vec<(u64, Option<String>)> {
    let mut found = Vec::new();
    while let Some(message) = within(browse.next()).await.unwrap() {
        found.push((message.number, message.envelope.message_id));
    }
    found
}

fn ids(found: &[(u64, Option<String>)]) -> Vec<usize> {
    found.iter().map(|(_, id)| id.as_deref().unwrap().parse().unwrap()).collect()
}

/// Replaces the message `number` by nothing.
fn dropped(number: u64) -> Replacement {
    Replacement { number, messages: Vec::new() }
}

#[tokio::test]
async fn whoever_takes_meanwhile_sees_no_difference() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    // More messages than are read at a time.
    post(&broker, 0..700).await;
    let mut consumer = broker.consume(&queue(), 2).await.unwrap();
    let held = [next(&mut consumer).await, next(&mut consumer).await];
    let mut look = browse(&broker, &[]).await;
    assert_eq!(look.waiting(), 698);
    post(&broker, 700..701).await;
    assert_eq!(ids(&all(&mut *look).await), (2..700).collect::<Vec<_>>(), "what waited when it began");
    drop(look);
    assert_eq!(broker.depth(&queue()).await.unwrap().ready, 699);
    for (expected, delivery) in held.into_iter().enumerate() {
        assert_eq!((number(&delivery), delivery.redelivered), (expected, false));
        delivery.ack();
    }
    for expected in 2..350 {
        let delivery = next(&mut consumer).await;
        assert_eq!((number(&delivery), delivery.redelivered), (expected, false));
        delivery.ack();
    }
    within(consumer.close()).await;
    broker.close().await;

    // Consumers of the next broker do not get them, either.
    let broker = open(dir.path()).await;
    assert_eq!(all(&mut *browse(&broker, &[]).await).await.len(), 351);
    broker.close().await;
    let broker = open(dir.path()).await;
    let mut consumer = broker.consume(&queue(), 10).await.unwrap();
    let mut come = Vec::new();
    for _ in 0..351 {
        let delivery = next(&mut consumer).await;
        // The first consumer was about to get two of them.
        assert!(number(&delivery) < 352 || !delivery.redelivered, "{}", number(&delivery));
        assert_eq!(delivery.lost, 0);
        come.push(number(&delivery));
        delivery.ack();
    }
    assert_eq!(come, (350..701).collect::<Vec<_>>());
    within(consumer.close()).await;
    broker.close().await;
}

#[tokio::test]
async fn by_name_it_gives_those_and_the_nameless() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    let mut messages: Vec<_> = (0..1000).map(|n| (address(), letter(n))).collect();
    messages[600].1.message_id = None;
    broker.publish(messages).await.unwrap();
    let mut look = browse(&broker, &["900", "7", "none", "\"'"]).await;
    let found = all(&mut *look).await;
    assert_eq!(
        found.into_iter().map(|(_, id)| id).collect::<Vec<_>>(),
        [Some("7".to_owned()), None, Some("900".to_owned())]
    );
    assert_eq!(look.waiting(), 1000);
    drop(look);
    let unknown = broker.browse(&QueueName::stored("postern.outbound.nobody"), &[]).await;
    assert!(matches!(unknown, Err(BrokerError::Refused(_))), "{unknown:?}");
    broker.close().await;
}

#[tokio::test]
async fn what_is_replaced_is_gone_and_the_rest_keeps_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    post(&broker, 0..600).await;
    let mut consumer = broker.consume(&queue(), 1).await.unwrap();
    let first = next(&mut consumer).await;
    let mut look = browse(&broker, &[]).await;
    let found = all(&mut *look).await;
    let place = |id: usize| found.iter().find(|(_, known)| *known == Some(id.to_string())).unwrap().0;
    // A message that was read ahead, one that was not, one that is consumed meanwhile, and one that does not
    // exist.
    let [second, ahead, far] = [1, 5, 590].map(place);
    first.ack();
    let second_delivery = next(&mut consumer).await;
    let to_the_dead = Replacement { number: far, messages: vec![(Address::Dead(alpha()), letter(9990))] };
    let gone =
        look.replace(vec![dropped(second), dropped(ahead), to_the_dead, dropped(7_000)]).await.unwrap();
    assert_eq!(gone, [second, 7_000]);
    assert_eq!(look.replace(vec![dropped(ahead)]).await.unwrap(), [ahead], "once");
    drop(look);
    assert_eq!(broker.depth(&queue()).await.unwrap().ready, 600 - 4);
    second_delivery.release();
    let mut expected: Vec<usize> = (1..600).filter(|n| ![5, 590].contains(n)).collect();
    for wanted in expected.drain(..300) {
        let delivery = next(&mut consumer).await;
        assert_eq!(number(&delivery), wanted);
        delivery.ack();
    }
    within(consumer.close()).await;
    broker.close().await;

    let broker = open(dir.path()).await;
    assert_eq!(ids(&all(&mut *browse(&broker, &[]).await).await), expected);
    assert_eq!(drain(&broker, &queue()).await, expected);
    assert_eq!(drain(&broker, &QueueName::dead()).await, [9990]);
    broker.close().await;
    assert_eq!(postern_store::maintenance::check(dir.path()).unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn where_there_is_no_room_nothing_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut limited = options();
    limited.topology.backends.insert("beta".parse().unwrap());
    limited.topology.max_messages = Some(3);
    let broker = EmbeddedBroker::open(dir.path(), limited).await.unwrap();
    post(&broker, 0..3).await;
    let beta = || Address::Outbound("beta".parse().unwrap(), Priority::Normal);
    broker.publish(vec![(beta(), letter(10)), (beta(), letter(11))]).await.unwrap();
    let mut look = browse(&broker, &[]).await;
    let found = all(&mut *look).await;
    let moved = |range: std::ops::Range<usize>| -> Vec<_> {
        range.map(|n| Replacement { number: found[n].0, messages: vec![(beta(), letter(n))] }).collect()
    };
    let full = look.replace(moved(0..2)).await;
    assert!(matches!(full, Err(BrokerError::Full(_))), "{full:?}");
    let large = Envelope { body: vec![0; 17 << 20].into(), ..Envelope::default() };
    let large = look.replace(vec![Replacement { number: found[0].0, messages: vec![(beta(), large)] }]).await;
    assert!(matches!(large, Err(BrokerError::Refused(_))), "{large:?}");
    assert_eq!(look.replace(moved(1..2)).await.unwrap(), Vec::<u64>::new());
    drop(look);
    assert_eq!(drain(&broker, &queue()).await, [0, 2]);
    assert_eq!(drain(&broker, &beta().queue()).await, [10, 11, 1]);
    broker.close().await;
}

#[tokio::test]
async fn what_cannot_be_decoded_is_looked_at_as_the_dead_letter_that_it_becomes() {
    let dir = tempfile::tempdir().unwrap();
    let broker = open(dir.path()).await;
    post(&broker, 0..3).await;
    broker.close().await;
    tamper(dir.path(), "UPDATE message SET body = CAST('altered' AS BLOB) WHERE message_id = '1'");
    let broker = open(dir.path()).await;
    let mut look = browse(&broker, &[]).await;
    let mut found = Vec::new();
    while let Some(message) = look.next().await.unwrap() {
        found.push(message);
    }
    let [first, altered, _] = &found[..] else { panic!("{found:?}") };
    assert_eq!(
        (altered.envelope.text_header(header::CODE), &*altered.envelope.body),
        (Some("undecodable"), &b"altered"[..])
    );
    assert_eq!(
        look.replace(vec![dropped(first.number), dropped(altered.number)]).await.unwrap(),
        Vec::<u64>::new()
    );
    drop(look);
    assert_eq!(drain(&broker, &queue()).await, [2]);
    assert_eq!(broker.depth(&QueueName::dead()).await.unwrap().ready, 0);
    broker.close().await;
}
