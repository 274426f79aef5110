//! Slack, LINE, Telnyx, Vonage, Plivo and MessageBird, by their own Python libraries: what they sign is
//! accepted, and Postern sends the same requests.

use crate::python;
use postern_tests::{Answer, Launch, Pair, Program, Provider, Rabbit};
use reqwest::Method;
use serde_json::{Map, Value, json};

const PUBLIC: &str = "https://sms.example.org";
/// An Ed25519 key: its seed, the bytes 0 to 31, and its public key.
const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const PUBLIC_KEY: &str = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=";
const SECRET: &str = "hush-secret-of-more-than-32-letters";
const TEXT: &str = "café & 1+1=2 😀";

/// The settings of each backend; `{base}` is the provider's address.
const BACKENDS: [(&str, &str); 6] = [
    ("slack", "bot_token = \"xoxb-hush-token\"\nsigning_secret = \"SECRET\"\napi_url = \"{base}/api\""),
    ("line", "channel_access_token = \"hush-token\"\nchannel_secret = \"SECRET\"\napi_url = \"{base}\""),
    (
        "telnyx",
        "api_key = \"hush-key\"\npublic_key = \"PUBLIC_KEY\"\nfrom = \"+15550000\"\napi_url = \"{base}\"",
    ),
    (
        "vonage-messages",
        "api_key = \"k\"\napi_secret = \"s\"\nsignature_secret = \"SECRET\"\nfrom = \"15550000\"",
    ),
    (
        "plivo",
        "auth_id = \"MAHUSHHUSHHUSHHUSH00\"\nauth_token = \"SECRET\"\nsrc = \"15550000\"\napi_url = \"{base}\"",
    ),
    (
        "messagebird",
        "access_key = \"hush-key\"\nsigning_key = \"SECRET\"\noriginator = \"Clinic\"\napi_url = \"{base}\"",
    ),
];

/// Plivo's signature of version 3, as in the documentation of the type `plivo`.
const PLIVO_V3: &str = r#"{ hmac = { header = "X-Plivo-Signature-V3", encoding = "base64", secret = "{{ settings.auth_token }}", signed = "{{ (url ~ '.') if '?' in url else (url ~ '?') }}{{ parameters }}.{{ headers['x-plivo-signature-v3-nonce'] }}" } }"#;

/// A configuration with all backends, whose secrets are `secret`.
fn config(base: &str, secret: &str) -> String {
    let mut config =
        format!("[ingress]\ndedupe_window = 0\npublic_url = \"{PUBLIC}\"\n[api]\nlisten = \"127.0.0.1:0\"\n");
    for (name, settings) in BACKENDS {
        let settings =
            settings.replace("{base}", base).replace("SECRET", secret).replace("PUBLIC_KEY", PUBLIC_KEY);
        config += &format!("[backends.{name}]\ntype = \"{name}\"\n[backends.{name}.settings]\n{settings}\n");
        if name == "plivo" {
            config += &format!(
                "[backends.plivo-v3]\ntype = \"plivo\"\nreceive.auth = {PLIVO_V3}\n\
                 [backends.plivo-v3.settings]\n{settings}\n"
            );
        }
    }
    config
}

/// A request from a vendor before it is signed.
struct Incoming {
    vendor: &'static str,
    path: &'static str,
    json: Option<Value>,
    form: Map<String, Value>,
}

impl Incoming {
    fn json(vendor: &'static str, path: &'static str, body: Value) -> Self {
        Self { vendor, path, json: Some(body), form: Map::new() }
    }

    fn form(vendor: &'static str, path: &'static str, form: &Value) -> Self {
        Self { vendor, path, json: None, form: form.as_object().unwrap().clone() }
    }

    fn body(&self) -> String {
        match &self.json {
            Some(json) => json.to_string(),
            None => {
                let pairs = self.form.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap()));
                form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
            }
        }
    }

    fn job(&self) -> Value {
        let secret = if self.vendor == "telnyx" { SEED } else { SECRET };
        let url = format!("{PUBLIC}{}", self.path);
        json!({"vendor": self.vendor, "secret": secret, "url": url, "body": self.body(), "params": self.form})
    }

    /// Sends the request to Postern with `headers`. If it is `spoilt`, it has one byte more than was signed, or
    /// goes to another address if only the address is signed.
    async fn arrives(&self, ingress: &Program, headers: &Value, spoilt: bool) -> u16 {
        let path = if spoilt && self.vendor == "plivo" { "/backends/plivo/status" } else { self.path };
        let kind = if self.json.is_some() { "application/json" } else { "application/x-www-form-urlencoded" };
        let mut request = ingress.request(Method::POST, path).header("Content-Type", kind);
        for (name, value) in headers.as_object().unwrap() {
            request = request.header(name, value.as_str().unwrap());
        }
        let more = match (spoilt, &self.json) {
            (false, _) => "",
            (true, Some(_)) => " ",
            (true, None) => "0",
        };
        ingress.fetch(request.body(self.body() + more)).await.status
    }
}

#[tokio::test]
async fn what_their_libraries_sign_is_accepted_and_nothing_else() {
    let vhost = Rabbit::shared().vhost();
    let settings = config("https://127.0.0.1:9", SECRET);
    let ingress = Launch::ingress(&vhost.config(&settings)).start().await;
    let other = Launch::ingress(
        &vhost.config(
            &settings
                .replace(SECRET, "another")
                .replace(PUBLIC_KEY, "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
        ),
    );
    let (other, tap) = tokio::join!(other.start(), vhost.tap());
    let telnyx = json!({"data": {"event_type": "message.received", "payload": {
        "id": "t1", "from": {"phone_number": "+15551234567"}, "to": [{"phone_number": "+15550000"}], "text": TEXT}}});
    let vonage = json!({"message_uuid": "v1", "message_type": "text", "channel": "sms", "from": "15551234567",
        "to": "15550000", "text": TEXT});
    let slack = json!({"type": "event_callback", "event_id": "s1", "event_time": 1_700_000_000,
        "event": {"type": "message", "channel": "D024BE91L", "user": "U1", "text": "hello"}});
    let line = json!({"destination": "U1", "events": [{"type": "message", "message": {"id": "l1", "type": "text",
        "text": TEXT}, "timestamp": 1_700_000_000_123_u64, "source": {"type": "user", "userId": "U206d25c2ea6bd87c17655609a1c37cb8"}}]});
    let plivo = json!({"From": "15551234567", "To": "15550000", "Text": TEXT, "Type": "sms",
        "MessageUUID": "5e6d2c1a-0000-4000-8000-000000000001"});
    let bird = json!({"id": "b1", "originator": "15551234567", "recipient": "15550000", "body": TEXT});
    let requests = [
        Incoming::json("slack", "/backends/slack", slack),
        Incoming::json("line", "/backends/line", line),
        Incoming::json("telnyx", "/backends/telnyx", telnyx),
        Incoming::json("vonage", "/backends/vonage-messages", vonage),
        Incoming::form("plivo", "/backends/plivo", &plivo),
        Incoming::form("plivo", "/backends/plivo?x=1", &plivo),
        Incoming::form("plivo_v3", "/backends/plivo-v3", &plivo),
        Incoming::form("plivo_v3", "/backends/plivo-v3?x=1", &plivo),
        Incoming::form("messagebird", "/backends/messagebird", &bird),
    ];
    let jobs: Value = requests.iter().map(Incoming::job).collect();
    let signed = python::ask("vendors/sign.py", &jobs).await;
    for (request, headers) in requests.iter().zip(signed.as_array().unwrap()) {
        let name = request.vendor;
        assert_eq!(request.arrives(&ingress, headers, true).await, 403, "{name}: not what was signed");
        assert_eq!(request.arrives(&other, headers, false).await, 403, "{name}: another secret");
        assert_eq!(request.arrives(&ingress, &json!({}), false).await, 403, "{name}: unsigned");
        assert_eq!(request.arrives(&ingress, headers, false).await, 200, "{name}");
        let text = tap.take("postern.inbound").await.json()["text"].clone();
        assert_eq!(text, if name == "slack" { "hello" } else { TEXT }, "{name}");
    }
    tap.depth_becomes("postern.inbound", 0).await;
    ingress.ends_silent(&[TEXT, SECRET]).await;
    other.ends_silent(&[TEXT, SECRET]).await;
}

/// The parts that matter: the request line, the credentials, and the JSON in any order without the fields
/// `added`, with which a library states defaults.
fn essence(request: &postern_tests::Request, added: &[&str]) -> (String, Option<String>, Map<String, Value>) {
    let mut body = serde_json::from_slice::<Map<String, Value>>(&request.body).unwrap();
    body.retain(|name, _| !added.contains(&name.as_str()));
    body.sort_keys();
    let line = format!("{} {}", request.method, request.path);
    (line, request.header("authorization").map(str::to_owned), body)
}

#[tokio::test]
async fn postern_and_their_libraries_send_the_same_request() {
    let provider = Provider::start().await;
    provider.otherwise(|request| match request.path.as_str() {
        "/api/chat.postMessage" => Answer::json(200, &json!({"ok": true, "ts": "1.2"})),
        "/v2/bot/message/push" => Answer::json(200, &json!({"sentMessages": [{"id": "1.2"}]})),
        "/v2/messages" => Answer::json(200, &json!({"data": {"id": "1.2"}})),
        "/messages" => Answer::json(201, &json!({"id": "1.2"})),
        _ => Answer::json(202, &json!({"message_uuid": ["1.2"], "api_id": "a", "message": "queued"})),
    });
    let vhost = Rabbit::shared().vhost();
    let settings = config(&provider.url(""), "hush-token");
    let config = vhost.config(&settings);
    let (ingress, dispatcher) = (Launch::ingress(&config), Launch::dispatcher(&config));
    let (ingress, dispatcher) = tokio::join!(ingress.start(), dispatcher.start());
    let pair = Pair { ingress, dispatcher, tap: vhost.tap().await, vhost };
    let id = "0199b2a5-0000-7000-8000-000000000001";
    for (vendor, to, added) in [
        ("slack", "D024BE91L", &[][..]),
        ("line", "U206d25c2ea6bd87c17655609a1c37cb8", &["notificationDisabled"]),
        ("telnyx", "+15551234567", &["webhook_url"]),
        ("plivo", "+15551234567", &["url", "method", "type", "log", "trackable"]),
        ("messagebird", "15551234567", &["reportUrl"]),
    ] {
        let text = if vendor == "slack" { "café 1+1=2 😀" } else { TEXT };
        pair.tap.send(&json!({"id": id, "backend": vendor, "identities": [to], "text": text})).await;
        let ours = provider.take().await;
        let job =
            json!({"vendor": vendor, "base": provider.url(""), "to": to, "text": text, "reference": id});
        assert_eq!(python::ask("vendors/send.py", &job).await, "1.2", "{vendor}");
        let (ours, mut theirs) = (essence(&ours, added), essence(&provider.take().await, added));
        // The library sends all numbers as one text, the documentation shows a list; the API accepts both.
        if let Some(Value::String(numbers)) = theirs.2.get("recipients").cloned() {
            theirs.2["recipients"] = json!([numbers]);
        }
        assert_eq!(ours, theirs, "{vendor}");
    }
    pair.dispatcher.ends_silent(&["+15551234567", TEXT, "hush"]).await;
}
