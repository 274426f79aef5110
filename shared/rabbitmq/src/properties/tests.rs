//! Messages to RabbitMQ and deliveries from it.

use super::*;
use postern_broker::topology::{DEAD, OUTBOUND};

const QUEUE: &str = "postern.outbound.demo";

fn address() -> Address {
    Address::Dead("demo".parse().unwrap())
}

fn long(bytes: usize) -> AMQPValue {
    AMQPValue::LongString(vec![b'7'; bytes].into())
}

/// A first delivery through `exchange`.
fn delivery<const N: usize>(exchange: &str, headers: [(&str, AMQPValue); N]) -> Delivery {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        table.insert(name.into(), value);
    }
    let mut delivery = Delivery::mock(1, exchange.into(), QUEUE.into(), false, Vec::new());
    delivery.properties = BasicProperties::default().with_headers(table);
    delivery
}

#[test]
fn an_envelope_comes_back_as_it_was() {
    let sent = Envelope {
        message_id: Some("id".to_owned()),
        kind: Some("postern.test.v1".to_owned()),
        content_type: None,
        headers: Headers::new(),
        body: Bytes::from_static(b"{}"),
    }
    .with("text", "grün")
    .with(header::REASON, "of a death")
    .with("least", i64::MIN);
    let outgoing = Outgoing::new(address(), sent.clone(), MAX_BODY).unwrap();
    assert_eq!((outgoing.exchange.as_str(), outgoing.routing_key.as_str()), ("postern.dead", "demo"));
    assert_eq!(outgoing.properties.delivery_mode(), &Some(PERSISTENT));
    let mut delivery =
        Delivery::mock(1, outgoing.exchange, outgoing.routing_key, false, outgoing.body.to_vec());
    delivery.properties = outgoing.properties;
    assert_eq!(envelope(DEAD, delivery), sent);
}

#[test]
fn headers_of_other_kinds_and_of_the_broker_are_dropped() {
    let headers = || {
        [
            ("small", AMQPValue::ShortShortUInt(255)),
            ("moment", AMQPValue::Timestamp(1)),
            ("flag", AMQPValue::Boolean(true)),
            ("bytes", AMQPValue::LongString(vec![0xff].into())),
            ("x-delivery-count", AMQPValue::LongLongInt(3)),
            ("x-death", AMQPValue::LongString("expired".into())),
            ("x-first-death-queue", AMQPValue::LongString("q".into())),
        ]
    };
    let read = envelope(QUEUE, delivery(RETURN, headers()));
    assert_eq!(read.headers, Headers::from([("small".to_owned(), HeaderValue::Integer(255))]));
}

/// RabbitMQ 3.10 replaces the publisher's count only when it has something to count itself.
#[test]
fn a_publisher_does_not_say_how_often_its_message_came_back() {
    let forged = delivery(OUTBOUND, [("x-delivery-count", AMQPValue::LongLongInt(1000))]);
    assert_eq!(delivery_count(&forged), 0);
    let counted = Delivery { redelivered: true, ..forged };
    assert_eq!(delivery_count(&counted), 1000);
    assert_eq!(delivery_count(&Delivery { redelivered: true, ..delivery(OUTBOUND, []) }), 0);
}

#[test]
fn headers_of_posterns_own_count_only_where_no_application_publishes() {
    let names = |exchange: &str, queue: &str| {
        let count = AMQPValue::LongLongInt(1);
        let headers =
            [("x-postern-attempt", count), ("x-postern-queue", long(5)), ("x-theirs", AMQPValue::LongInt(1))];
        let read = envelope(queue, delivery(exchange, headers));
        let queue = read.text_header(header::QUEUE).map(str::to_owned);
        (read.headers.into_keys().collect::<Vec<_>>(), queue)
    };
    for exchange in ["postern.outbound", "theirs"] {
        for queue in [QUEUE, UNROUTED, DEAD] {
            assert_eq!(names(exchange, queue).0, ["x-theirs"], "{exchange} {queue}");
        }
    }
    for (exchange, queue) in [(RETURN, QUEUE), (DEAD, DEAD), ("", DEAD), ("postern.wait.1000ms", UNROUTED)] {
        let (names, _) = names(exchange, queue);
        assert_eq!(names, ["x-postern-attempt", "x-postern-queue", "x-theirs"], "{exchange} {queue}");
    }
    // The key names the queue that it was to return to.
    assert_eq!(names(RETURN, UNROUTED).1.as_deref(), Some(QUEUE));
}

/// The message log reads from them what was published.
#[test]
fn a_message_for_the_message_log_says_how_it_came_and_who_it_says_it_is_by() {
    let headers = [("x-postern-by", long(9)), ("x-postern-attempt", AMQPValue::LongLongInt(1))];
    let read = envelope(LOG, delivery(OUTBOUND, headers));
    let text = |name: &str| read.text_header(name);
    assert_eq!((text(header::EXCHANGE), text(header::ROUTING_KEY)), (Some(OUTBOUND), Some(QUEUE)));
    assert_eq!((text(header::BY), read.integer_header("x-postern-attempt")), (Some("777777777"), None));
}

/// A message that was accepted can be published again, regardless of the headers that its application set.
#[test]
fn headers_beyond_their_room_are_left_out() {
    let mut delivery =
        delivery(DEAD, [("a", long(8000)), ("b", long(8000)), ("c", long(10)), ("traceparent", long(55))]);
    let mut table = delivery.properties.headers().clone().unwrap();
    for n in 0..2000 {
        table.insert(format!("d{n}").into(), AMQPValue::Boolean(true));
        table.insert(format!("e{n}").into(), AMQPValue::ShortShortInt(1));
    }
    table.insert("x-postern-reason".into(), long(500));
    delivery.properties = BasicProperties::default().with_headers(table);
    let read = envelope(DEAD, delivery);
    let names: Vec<_> = read.headers.keys().filter(|name| !name.starts_with('e')).collect();
    assert_eq!(names, ["a", "c", "traceparent", "x-postern-reason"]);
    assert!(read.headers.len() > 100, "{}", read.headers.len());
    Outgoing::new(address(), read, MAX_BODY).unwrap();
    for name in ["traceparent", "x-postern-a", "x-theirs"] {
        let read = envelope(QUEUE, self::delivery(OUTBOUND, [(name, long(17_000))]));
        assert!(read.headers.is_empty(), "{name}");
    }
}

#[test]
fn a_body_that_cannot_be_published_again_is_cut_and_says_so() {
    let mut delivery = delivery(OUTBOUND, []);
    delivery.data = vec![b' '; MAX_BODY + 1];
    let read = envelope(QUEUE, delivery);
    assert_eq!((read.body.len(), read.cut_from()), (CUT_BODY, Some(MAX_BODY as u64 + 1)));
    Outgoing::new(address(), read, MAX_BODY).unwrap();
}

#[test]
fn what_amqp_cannot_carry_is_refused_and_not_quoted() {
    let long = "7".repeat(300);
    for bad in [
        Envelope { message_id: Some(long.clone()), ..Envelope::default() },
        Envelope::default().with(&long, 1),
        Envelope::default().with("text", "7".repeat(MAX_HEADERS)),
        Envelope { body: vec![b'7'; MAX_BODY + 1].into(), ..Envelope::default() },
    ] {
        let error = Outgoing::new(address(), bad, MAX_BODY).unwrap_err();
        assert!(matches!(error, BrokerError::Refused(_)), "{error:?}");
        assert!(!error.to_string().contains("7777"), "{error}");
    }
}
