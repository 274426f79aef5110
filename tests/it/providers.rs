//! The tables of `tests/fixtures/<provider>/`, row by row and with the real programs: a provider's request in,
//! the exact message or report out; a message in, the exact request to the provider out.
//!
//! `config.toml` is the configuration, with `PROVIDER` for the fake provider's address. `http.toml` holds the
//! requests, `send.toml` the messages and the polls about them, and `token.toml` the one request for an access
//! token that all of them share. Every row is checked for more: no value of a row is in any log, and no request
//! comes that no row foresees.

mod fixture;
mod sign;

pub(crate) use fixture::written;

use fixture::Fixture;
use postern_tests::{Answer, Pair, Provider, Tap};
use serde_json::json;
use std::collections::BTreeSet;

/// Makes a test of each folder.
macro_rules! fixtures {
    ($($(#[$about:meta])* $name:ident: $folder:literal),* $(,)?) => {
        const FOLDERS: &[&str] = &[$($folder),*];

        $(
            $(#[$about])*
            #[tokio::test]
            async fn $name() {
                Fixture::run($folder).await;
            }
        )*
    };
}

fixtures! {
    elks_46: "46elks",
    africastalking: "africastalking",
    /// Every scheme by which a request can authenticate itself.
    auth: "auth",
    aws_sms: "aws-sms",
    bandwidth: "bandwidth",
    beem: "beem",
    bulksms: "bulksms",
    clickatell: "clickatell",
    clicksend: "clicksend",
    /// `postern.reports` must not contain anything about a refused request.
    http: "http",
    httpsms: "httpsms",
    hubtel: "hubtel",
    infobip: "infobip",
    instagram: "instagram",
    jasmin: "jasmin",
    junebug: "junebug",
    kannel: "kannel",
    line: "line",
    messagebird: "messagebird",
    messenger: "messenger",
    mtn: "mtn",
    orange: "orange",
    plivo: "plivo",
    /// Like Twilio's, with its own key and header.
    signalwire: "signalwire",
    sinch: "sinch",
    slack: "slack",
    smsgate: "smsgate",
    /// Like Twilio's.
    somleng: "somleng",
    telegram: "telegram",
    telnyx: "telnyx",
    termii: "termii",
    twilio: "twilio",
    viber: "viber",
    vonage_messages: "vonage-messages",
    vonage_sms: "vonage-sms",
    vumi: "vumi",
    whatsapp: "whatsapp",
}

#[test]
fn every_folder_of_fixtures_is_listed() {
    let folders = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures")).unwrap();
    let folders = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let listed: BTreeSet<_> = FOLDERS.iter().map(ToString::to_string).collect();
    assert_eq!(listed, folders.collect::<BTreeSet<_>>());
}

/// A report may arrive before the answer to the request that it is about.
#[tokio::test]
async fn a_report_that_comes_before_the_sends_own_answer_is_not_lost() {
    let (fake, gate) = (Provider::start().await, postern_tests::Gate::closed());
    fake.script([Answer::json(200, &json!({"id": "P1"})).held(&gate)]);
    let config = format!(
        "[ingress]\npublic_url = \"https://sms.example.org\"\n[api]\nlisten = \"127.0.0.1:0\"\n[backends.early]\ntype = \"http\"\n\
         [backends.early.send]\nurl = \"{}\"\nform = {{ callback = \"{{{{ status_url }}}}\" }}\nexternal_id = \"/id\"\n\
         [backends.early.status]\nparams = {{ external_id = \"id\" }}\nstates = {{ ok = \"delivered\" }}\n",
        fake.url("/send")
    );
    let Pair { ingress, dispatcher: _dispatcher, tap, vhost: _vhost } = Pair::start(&config).await;
    tap.send(&json!({"backend": "early", "identities": ["+1555"], "text": "hi"})).await;
    let asked = fake.take().await;
    let callback = ("callback".to_owned(), "https://sms.example.org/backends/early/status".to_owned());
    assert_eq!(asked.form(), [callback]);
    assert_eq!(ingress.get("/backends/early/status?id=P1&state=ok").await.status, 200);
    let brief = async |tap: &Tap| {
        let report = tap.take("postern.reports").await.json();
        json!([report["recipients"][0]["state"], report["recipients"][0]["external_id"]])
    };
    assert_eq!(brief(&tap).await, json!(["delivered", "P1"]));
    gate.open();
    assert_eq!(brief(&tap).await, json!(["sent", "P1"]));
}
