//! A request on its way through the ingress, from its parsed head on.

use postern_broker::{Address, memory::MemoryBroker};
use postern_config::{Config, ProviderRegistry};
use postern_ingress::measure::Socketless;
use postern_shared::message::{CallbackEvent, Inbound, Outbound, Report};
use std::{mem::ManuallyDrop, sync::Arc};

/// One backend with a field of every type, one of every built-in type, one with batches, and both
/// compatibility listeners.
const CONFIG: &str = include_str!("request.toml");

struct Ingress {
    broker: MemoryBroker,
    socketless: Socketless,
}

thread_local! {
    // Never dropped: while a thread ends, what dropping it needs is already gone.
    static INGRESS: ManuallyDrop<Ingress> = ManuallyDrop::new(Ingress::new());
}

/// `METHOD TARGET`, lines `Name: value`, an empty line and a body. The ingress must never answer it with a
/// 5xx, must publish nothing unless it answers 2xx, and must publish only what can be read.
pub fn request(input: &[u8]) {
    INGRESS.with(|ingress| ingress.take(input));
}

impl Ingress {
    fn new() -> Self {
        let config = Config::parse("request.toml", Some(CONFIG), [], &ProviderRegistry::builtin());
        let broker = MemoryBroker::default();
        let socketless = Socketless::new(config.unwrap(), Arc::new(broker.clone())).unwrap();
        Self { broker, socketless }
    }

    fn take(&self, input: &[u8]) {
        let (head, body) = split(input, b"\n\n").unwrap_or((input, b""));
        let mut lines = head.split(|byte| *byte == b'\n');
        let Some((method, target)) = split(lines.next().unwrap_or_default(), b" ") else { return };
        let headers: Vec<_> = lines.filter_map(|line| split(line, b": ")).collect();
        let Some((status, answer)) = self.socketless.answer(method, target, &headers, body.to_vec()) else {
            return;
        };
        let published = self.broker.take();
        assert!((200..500).contains(&status), "{status} {}", String::from_utf8_lossy(&answer));
        assert!(published.is_empty() || status < 300, "{status}, but published");
        for (address, envelope) in published {
            let read = match address {
                Address::Inbound(_) => Inbound::from_json(&envelope.body).map(|read| read.to_json()),
                Address::Outbound(..) => Outbound::from_json(&envelope.body).map(|read| read.to_json()),
                Address::Reports(_) => Report::from_json(&envelope.body).map(|read| read.to_json()),
                Address::Callbacks(_) => CallbackEvent::from_json(&envelope.body).map(|read| read.to_json()),
                other => panic!("published to {other:?}"),
            };
            assert_eq!(read.unwrap(), envelope.body, "what is published is read as it was written");
        }
    }
}

fn split<'i>(input: &'i [u8], at: &[u8]) -> Option<(&'i [u8], &'i [u8])> {
    let found = input.windows(at.len()).position(|window| window == at)?;
    Some((&input[..found], &input[found + at.len()..]))
}
