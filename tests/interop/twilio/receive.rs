//! A request signed by Twilio's library is accepted; with one byte changed, it is refused.

use super::{Job, Signed, TOKEN, sign};
use postern_tests::{Launch, Program, Rabbit, Tap};
use serde_json::json;

const ACCOUNT: &str = "AC00000000000000000000000000000123";
const MESSAGE: [(&str, &str); 8] = [
    ("MessageSid", "SM00000000000000000000000000000001"),
    ("AccountSid", ACCOUNT),
    ("From", "+15551234567"),
    ("To", "+15550000"),
    ("Body", "café & 1+1=2 😀"),
    ("NumMedia", "0"),
    ("FromCity", ""),
    ("a name & more", "x y"),
];

/// An ingress that providers reach at `public`.
async fn ingress(public: &str) -> (Program, Tap) {
    let vhost = Rabbit::shared().vhost();
    let config = format!(
        "[ingress]\npublic_url = \"{public}\"\ndedupe_window = 0\n[api]\nlisten = \"127.0.0.1:0\"\n[backends.twilio]\ntype = \"twilio\"\n\
         [backends.twilio.settings]\naccount_sid = \"AC123\"\nauth_token = \"{TOKEN}\"\nfrom = \"+15550000\"\n"
    );
    (Launch::ingress(&vhost.config(&config)).start().await, vhost.tap().await)
}

async fn accepted(ingress: &Program, tap: &Tap, signed: &Signed, text: &str) {
    let reply = signed.arrives(ingress).await;
    assert_eq!((reply.status, reply.text.as_str()), (200, "<Response/>"), "{signed:?}");
    let message = tap.take("postern.inbound").await.json();
    assert_eq!((&message["text"], &message["identity"]), (&json!(text), &json!("+15551234567")));
}

async fn refused(ingress: &Program, signed: &Signed) {
    let reply = signed.arrives(ingress).await;
    assert_eq!(reply.status, 403, "{signed:?}: {}", reply.text);
}

#[tokio::test]
async fn what_the_library_signs_is_accepted_whatever_it_writes_of_the_port() {
    for (public, as_signed, others) in [
        (
            "https://sms.example.org",
            vec!["https://sms.example.org", "https://sms.example.org:443"],
            vec!["https://sms.example.org:80", "http://sms.example.org", "https://sms.example.com"],
        ),
        (
            "https://sms.example.org:8443/gate",
            vec!["https://sms.example.org:8443/gate", "https://sms.example.org/gate"],
            vec!["https://sms.example.org:443/gate", "https://sms.example.org:8443"],
        ),
        ("http://sms.example.org", vec!["http://sms.example.org:80"], vec!["http://sms.example.org:443"]),
    ] {
        let (ingress, tap) = ingress(public).await;
        let body = json!({"MessageSid": "SM00000000000000000000000000000002", "AccountSid": ACCOUNT, "From": "+15551234567", "To": "+15550000",
            "Body": "é in JSON 😀"});
        let jobs = |publics: &[&'static str]| {
            publics
                .iter()
                .flat_map(|public| {
                    let shared_key = Job {
                        algorithm: Some("HMAC_SHA256"),
                        ..Job::form(public, "/backends/twilio", &MESSAGE)
                    };
                    [
                        Job::form(public, "/backends/twilio", &MESSAGE),
                        Job::form(public, "/backends/twilio/?a=1&b=%2B", &MESSAGE),
                        shared_key,
                        Job::json(public, "/backends/twilio", &body),
                        Job::json(public, "/backends/twilio?a=1", &body),
                    ]
                })
                .collect::<Vec<_>>()
        };
        for signed in sign(jobs(&as_signed)).await {
            let text = if signed.body.is_some() { "é in JSON 😀" } else { "café & 1+1=2 😀" };
            accepted(&ingress, &tap, &signed, text).await;
        }
        for signed in sign(jobs(&others)).await {
            refused(&ingress, &signed).await;
        }
        tap.depth_becomes("postern.inbound", 0).await;
    }
}

#[tokio::test]
async fn one_changed_byte_and_it_is_refused() {
    let public = "https://sms.example.org";
    let (ingress, tap) = ingress(public).await;
    let body = json!({"MessageSid": "SM00000000000000000000000000000002", "AccountSid": ACCOUNT, "From": "+15551234567", "To": "+15550000",
        "Body": "json"});
    let shared_key =
        Job { algorithm: Some("HMAC_SHA256"), ..Job::form(public, "/backends/twilio", &MESSAGE) };
    let mut again = MESSAGE.to_vec();
    again.push(("Body", "twice"));
    let jobs = vec![
        Job::form(public, "/backends/twilio?a=1", &MESSAGE),
        shared_key,
        Job::form(public, "/backends/twilio", &again),
        Job::json(public, "/backends/twilio", &body),
    ];
    let texts = ["café & 1+1=2 😀", "café & 1+1=2 😀", "twice", "json"];
    for (signed, text) in sign(jobs).await.iter().zip(texts) {
        accepted(&ingress, &tap, signed, text).await;
        for changed in spoilt(signed) {
            refused(&ingress, &changed).await;
        }
    }
    tap.depth_becomes("postern.inbound", 0).await;
}

/// The request with one thing changed: a byte of the signature or the query, a letter of the body, a parameter's
/// name or value, or one parameter removed or added.
fn spoilt(signed: &Signed) -> Vec<Signed> {
    let mut all = Vec::new();
    for at in 0..signed.signature.len() {
        all.push(Signed { signature: other(&signed.signature, at), ..signed.clone() });
    }
    all.push(Signed { signature: signed.signature[1..].to_owned(), ..signed.clone() });
    let query = signed.target.find('?').unwrap_or(signed.target.len());
    for at in query + 1..signed.target.len() {
        all.push(Signed { target: other(&signed.target, at), ..signed.clone() });
    }
    all.push(Signed {
        target: format!("{}{}x=1", signed.target, if query == signed.target.len() { "?" } else { "&" }),
        ..signed.clone()
    });
    if let Some(body) = &signed.body {
        // A body that is no longer JSON is refused with 400 for that reason.
        for at in (0..body.len()).filter(|at| body.as_bytes()[*at].is_ascii_alphanumeric()) {
            all.push(Signed { body: Some(other(body, at)), ..signed.clone() });
        }
    }
    for at in 0..signed.params.len() {
        let [mut renamed, mut rewritten, mut less, mut more] = [(); 4].map(|()| signed.clone());
        renamed.params[at].0.push('x');
        rewritten.params[at].1.push('x');
        less.params.remove(at);
        more.params.insert(at, ("Z".to_owned(), "1".to_owned()));
        all.extend([renamed, rewritten, less, more]);
    }
    all
}

/// `text` with another letter at that position.
fn other(text: &str, at: usize) -> String {
    let letter = if text.as_bytes()[at] == b'x' { "y" } else { "x" };
    format!("{}{letter}{}", &text[..at], &text[at + 1..])
}
