//! What the message log adds to requests that are also answered without it: the callback of a report whose
//! URL contains none, and the first answer to what another process has accepted.

use crate::{
    client::{self, Answer},
    server::Running,
};
use postern_broker::{Address, Broker, Envelope, LogRoute, QueueName, Topology, testing};
use postern_shared::{
    clock,
    message::{CallbackEvent, MessageId, Outbound, Priority, Recipient, Report, State},
    value::Secret,
};
use postern_store::{
    embedded::EmbeddedBroker,
    message_log::{HashKey, Keeping, MessageLog},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;

const CONFIG: &str = r#"
    [[api.keys]]
    name = "clinic"
    key = "key-of-clinic"
    backends = ["*"]
    [compat.kannel]
    users = [{ username = "u", password = "hush-hush-hush-hush", backend = "demo", allow = ["127.0.0.1"] }]
    [compat.vumi]
    path = "/vumi"
    users = [{ username = "u", password = "hush-hush-hush-hush", backend = "demo" }]
    [backends.demo]
    type = "http"
    send = { url = "http://127.0.0.1:9/send" }
    [backends.demo.status]
    params = { external_id = "sid", identity = "phone", message_id = "ours", state = "status", detail = "words" }
    states = { ok = "delivered", no = "undelivered", taken = "sent" }
"#;
const DLR: &str = "https%3A%2F%2Fclient.example.org%2Fdlr%3Ftype%3D%25d";
const MESSAGE: &str = r#"{"backend": "demo", "to": ["1", "2", "3"], "text": "pong я"}"#;

/// An embedded broker with a message log, and ingresses on it, one after the other.
struct Store {
    broker: Arc<EmbeddedBroker>,
    log: Arc<dyn MessageLog>,
    _folder: TempDir,
}

impl Store {
    async fn open(keeping: Keeping) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let topology = Topology { log: LogRoute::Store, ..testing::topology(["demo".parse().unwrap()]) };
        let options = testing::options(topology);
        let broker = EmbeddedBroker::open_recording(folder.path(), options, keeping).await.unwrap();
        let log = broker.message_log().unwrap();
        Self { broker: Arc::new(broker), log, _folder: folder }
    }

    /// Another process: an ingress that remembers nothing itself.
    async fn ingress(&self) -> Running {
        self.remembering("10m").await
    }

    /// Another process, with `window` as `ingress.dedupe_window`.
    async fn remembering(&self, window: &str) -> Running {
        let config = format!("ingress.dedupe_window = \"{window}\"\n{CONFIG}");
        Running::logged_by(self.broker.clone(), &config, self.log.clone()).await
    }

    /// Publishes a message with `context`, as an application does. Returns its id.
    async fn publish(&self, id: MessageId, context: &Value) -> MessageId {
        let body =
            json!({"id": id, "backend": "demo", "identities": ["+9"], "text": "x", "context": context});
        let envelope = Envelope { body: body.to_string().into(), ..Envelope::default() };
        let to_send = Address::Outbound("demo".parse().unwrap(), Priority::Normal);
        self.broker.publish(vec![(to_send, envelope.with("x-postern-by", "clinic"))]).await.unwrap();
        id
    }

    async fn waiting(&self, queue: &QueueName) -> u64 {
        self.broker.depth(queue).await.unwrap().ready
    }

    async fn outbound(&self) -> u64 {
        self.waiting(&QueueName::outbound(&"demo".parse().unwrap(), Priority::Normal)).await
    }

    /// Takes all messages from `queue`, and checks that there are as many as `messages`.
    async fn take(&self, queue: &QueueName, messages: u64) -> Vec<Envelope> {
        assert_eq!(self.waiting(queue).await, messages, "{queue}");
        let mut consumer = self.broker.consume(queue, 100).await.unwrap();
        let mut taken = Vec::new();
        for _ in 0..messages {
            let delivery = consumer.next().await.unwrap();
            taken.push(delivery.envelope.clone());
            delivery.ack();
        }
        consumer.close().await;
        taken
    }

    async fn callbacks(&self, messages: u64) -> Vec<CallbackEvent> {
        let taken = self.take(&QueueName::callbacks(), messages).await;
        taken.iter().map(|envelope| CallbackEvent::from_json(&envelope.body).unwrap()).collect()
    }

    async fn reports(&self, messages: u64) -> Vec<Report> {
        let taken = self.take(&QueueName::reports(), messages).await;
        taken.iter().map(|envelope| Report::from_json(&envelope.body).unwrap()).collect()
    }

    /// Sends a message to `to` with a callback for the events of `mask`. The provider then gives it the id
    /// `sid-` and the recipient for each recipient.
    async fn sent(&self, ingress: &Running, to: &str, mask: u8) -> MessageId {
        let path = format!(
            "/cgi-bin/sendsms?username=u&password=hush-hush-hush-hush&to={to}&text=a&dlr-mask={mask}&dlr-url={DLR}"
        );
        assert_eq!(ingress.get(&path).await.status, 202);
        let queue = QueueName::outbound(&"demo".parse().unwrap(), Priority::Normal);
        let message = Outbound::from_json(&self.take(&queue, 1).await[0].body).unwrap();
        let of_each = message.identities.iter().map(|identity| Recipient {
            identity: Some(identity.clone()),
            state: State::Sent,
            external_id: Some(format!("sid-{}", identity.as_str())),
            external_ids: Vec::new(),
            segments: None,
            reason: None,
            http_status: None,
            duration_ms: None,
        });
        let report = Report {
            message_id: message.id,
            backend: message.backend,
            attempt: 1,
            at: clock::now(),
            recipients: of_each.collect(),
        };
        let publish = (Address::Reports(report.backend.clone()), Envelope::from(&report));
        self.broker.publish(vec![publish]).await.unwrap();
        self.reports(1).await;
        message.id
    }
}

fn failures(ingress: &Running, lookup: &str) -> f64 {
    let name = format!("postern_ingress_log_lookup_failures_total{{lookup=\"{lookup}\"}}");
    ingress.metric(&name).unwrap()
}

async fn report(ingress: &Running, form: &str) {
    assert_eq!(ingress.form("/backends/demo/status", form).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_at_a_fixed_address_calls_the_messages_client_back() {
    let store = Store::open(Keeping::full()).await;
    let ingress = store.ingress().await;
    let id = store.sent(&ingress, "%2B1+%2B2", 1).await;
    // The report comes twice, as from providers: each makes a callback, as with a token in the URL.
    for _ in 0..2 {
        report(&ingress, "sid=sid-%2B2&status=ok&words=on+%26+on").await;
        let [told] = &store.callbacks(1).await[..] else { panic!("not one") };
        assert_eq!((told.message_id, told.event, told.reply.as_str()), (id, 1, "on & on"));
        assert_eq!(told.identity.as_ref().map(|identity| identity.as_str()), Some("+2"));
        assert_eq!(told.external_id.as_deref(), Some("sid-+2"));
        let [report] = &store.reports(1).await[..] else { panic!("not one") };
        assert_eq!((report.message_id, report.recipients[0].state), (id, State::Delivered));
    }
    // The client did not ask for these states.
    report(&ingress, "sid=sid-%2B1&status=no").await;
    report(&ingress, "sid=sid-%2B1&status=taken").await;
    store.reports(2).await;
    // Our own id is enough, even if only the callback knows the message's recipient.
    let alone = store.sent(&ingress, "%2B3", 3).await;
    report(&ingress, &format!("ours={alone}&status=no")).await;
    let [told] = &store.callbacks(1).await[..] else { panic!("not one") };
    assert_eq!((told.message_id, told.event), (alone, 2));
    assert_eq!(told.identity.as_ref().map(|identity| identity.as_str()), Some("+3"));
    // A message for which nobody asked for callbacks, and an unknown message.
    let published = store.publish(MessageId::new(), &json!({})).await;
    for id in [published, MessageId::new()] {
        report(&ingress, &format!("ours={id}&status=ok")).await;
    }
    store.callbacks(0).await;
    assert_eq!(failures(&ingress, "report"), 0.0);
}

/// The report, the callback and the message log name the recipient as the message does.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_in_another_spelling_gets_the_messages_own() {
    let store = Store::open(Keeping::full()).await;
    let ingress = store.ingress().await;
    let id = store.sent(&ingress, "%2B1555+%2B2", 1).await;
    let states = async || {
        let message = store.log.message(id).await.unwrap().unwrap();
        message.recipients.iter().map(|recipient| recipient.state.as_str().to_owned()).collect::<Vec<_>>()
    };
    report(&ingress, "sid=sid-%2B1555&phone=001555&status=ok").await;
    let [told] = &store.callbacks(1).await[..] else { panic!("not one") };
    let [published] = &store.reports(1).await[..] else { panic!("not one") };
    for identity in [&told.identity, &published.recipients[0].identity] {
        assert_eq!(identity.as_ref().map(|identity| identity.as_str()), Some("+1555"));
    }
    assert_eq!(states().await, ["delivered", "sent"]);
    // Under the id of the first recipient, the provider reports the second.
    report(&ingress, "sid=sid-%2B1555&phone=2&status=no").await;
    let [published] = &store.reports(1).await[..] else { panic!("not one") };
    assert_eq!(published.recipients[0].identity.as_ref().map(|identity| identity.as_str()), Some("2"));
    assert_eq!(states().await, ["delivered", "undelivered"]);
}

/// A publisher to the broker cannot have its own address called, nor that of another message.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_user_did_not_seal_for_the_message_calls_nobody() {
    let store = Store::open(Keeping::full()).await;
    let ingress = store.ingress().await;
    let asked = store.sent(&ingress, "%2B1", 1).await;
    let stolen = match store.log.callback(asked).await.unwrap() {
        postern_store::message_log::LoggedCallback::Wanted(token) => token,
        other => panic!("{other:?}"),
    };
    for token in ["e30.AAAAAAAAAAAAAAAAAAAAAA", &*stolen] {
        let id = store.publish(MessageId::new(), &json!({"postern:callback": token})).await;
        report(&ingress, &format!("ours={id}&status=ok")).await;
    }
    store.callbacks(0).await;
    store.reports(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_states_only_or_without_the_log_a_report_is_taken_and_calls_nobody() {
    let key = HashKey::new(&Secret::from("a key of the test".to_owned()));
    let states = Store::open(Keeping::states(key)).await;
    let ingress = states.ingress().await;
    let id = states.sent(&ingress, "%2B1", 1).await;
    report(&ingress, "sid=sid-%2B1&status=ok").await;
    assert_eq!(states.reports(1).await[0].message_id, id);
    states.callbacks(0).await;
    assert_eq!(failures(&ingress, "report"), 0.0);

    let away = Store::open(Keeping::full()).await;
    let ingress = away.ingress().await;
    away.sent(&ingress, "%2B1", 1).await;
    away.log.close().await;
    for number in [1.0, 2.0] {
        report(&ingress, "sid=sid-%2B1&status=ok").await;
        let [report] = &away.reports(1).await[..] else { panic!("not one") };
        assert_eq!(report.message_id, MessageId::reported(&"demo".parse().unwrap(), "sid-+1"));
        assert_eq!(failures(&ingress, "report"), number);
    }
    away.callbacks(0).await;
}

async fn post(ingress: &Running, key: &str, body: &str) -> Answer {
    let headers = [
        ("Authorization", "Bearer key-of-clinic"),
        ("Content-Type", "application/json"),
        ("Idempotency-Key", key),
    ];
    client::send(ingress.api, &client::written("POST", "/v1/messages", &headers, body.as_bytes())).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_accepted_gets_its_answer_and_is_not_queued_again() {
    let store = Store::open(Keeping::full()).await;
    let first = store.ingress().await;
    let answer = post(&first, "order-1", MESSAGE).await;
    assert_eq!((answer.status, store.outbound().await), (202, 1));
    assert_eq!(answer.json()["encoding"], "ucs2");
    let put = async |ingress: &Running, to: &str| {
        let body = json!({"message_id": "m1", "to_addr": to, "content": "hi"}).to_string();
        let headers = [("Authorization", "Basic dTpodXNoLWh1c2gtaHVzaC1odXNo")];
        client::send(ingress.address, &client::written("PUT", "/vumi", &headers, body.as_bytes())).await
    };
    let vumi = put(&first, "1").await;
    assert_eq!((vumi.status, store.outbound().await), (200, 2));
    first.trigger.drain();
    first.ended.await.unwrap().unwrap();

    let second = store.ingress().await;
    for body in [MESSAGE, r#"{"text": "pong я", "to": ["1","2","3"], "backend": "demo"}"#] {
        let again = post(&second, "order-1", body).await;
        assert_eq!((again.status, again.body.as_str()), (202, answer.body.as_str()));
    }
    for body in [MESSAGE.replace("pong", "ping"), "{}".to_owned()] {
        let other = post(&second, "order-1", &body).await;
        assert_eq!(other.status, 422, "{}", other.body);
        let wrong: Vec<Value> = other.json()["errors"].as_array().cloned().unwrap();
        assert_eq!(wrong[0]["header"], "Idempotency-Key");
    }
    let again = put(&second, "1").await;
    assert_eq!((again.status, again.body.as_str()), (200, vumi.body.as_str()));
    assert_eq!(store.outbound().await, 2);
    assert_eq!(second.metric("postern_ingress_duplicates_total{backend=\"demo\"}"), Some(3.0));
    // Another key, and another Vumi batch.
    assert_eq!(post(&second, "order-2", MESSAGE).await.status, 202);
    assert_eq!(put(&second, "2").await.status, 200);
    assert_eq!((store.outbound().await, failures(&second, "submission")), (4, 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_window_it_is_another_message_which_is_remembered_then() {
    let store = Store::open(Keeping::full()).await;
    let first = post(&store.ingress().await, "order-1", MESSAGE).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    for (window, queued) in [("300ms", 2), ("0s", 3), ("10m", 3)] {
        let again = post(&store.remembering(window).await, "order-1", MESSAGE).await;
        assert_eq!((again.status, &again.json()["id"]), (202, &first.json()["id"]));
        assert_eq!(store.outbound().await, queued, "{window}");
    }
    let other = MESSAGE.replace("pong", "ping");
    assert_eq!(post(&store.ingress().await, "order-1", &other).await.status, 422);
}

/// An application that publishes to the broker itself cannot use up anybody's key.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_another_publisher_took_is_no_key_that_was_used() {
    let store = Store::open(Keeping::full()).await;
    let ingress = store.ingress().await;
    let id = MessageId::outbound("clinic", "order-1");
    store.publish(id, &json!({})).await;
    assert_eq!(post(&ingress, "order-1", MESSAGE).await.status, 202);
    assert_eq!(store.outbound().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_log_is_away_what_has_a_key_is_accepted_and_counted() {
    let store = Store::open(Keeping::full()).await;
    let first = store.ingress().await;
    assert_eq!(post(&first, "order-1", MESSAGE).await.status, 202);
    let second = store.ingress().await;
    store.log.close().await;
    let again = post(&second, "order-1", MESSAGE).await;
    assert_eq!((again.status, store.outbound().await), (202, 2), "{}", again.body);
    assert_eq!(post(&second, "order-2", MESSAGE).await.status, 202);
    assert_eq!(failures(&second, "submission"), 2.0, "also what is not asked while the log is left alone");
    // This process knows without the log what it accepted itself.
    assert_eq!(post(&second, "order-2", &MESSAGE.replace("pong", "ping")).await.status, 422);
    assert_eq!((failures(&second, "submission"), store.outbound().await), (2.0, 3));
}
