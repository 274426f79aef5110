//! No value of a message gets out of its parameter.

#![allow(clippy::disallowed_types, reason = "read once for thousands of cases")]

use super::super::{request::Plan, scope::Constants};
use indexmap::IndexMap;
use postern_config::{Config, ProviderRegistry, backend::send::Recipients};
use postern_shared::{
    error::{Failure, FailureClass},
    message::{Context, Identity, MessageId},
    read::{JsonLimits, xml_within},
};
use proptest::prelude::*;
use reqwest::Request;
use std::{borrow::Cow, sync::LazyLock};
use url::form_urlencoded;

const CONFIG: &str = r#"
[backends.form]
type = "http"
[backends.form.send]
url = "http://example.org/a/{{ text }}/b{{ context.more }}?p={{ text }}"
query = { q = "{{ text }}", mixed = "<{{ context.more }}>" }
form = { t = "{{ text }}", to = "{{ identity }}", c = "{{ context.more }}" }
headers = { X-Text = "{{ text }}", X-More = "a {{ context.more }} b" }

[backends.json]
type = "http"
[backends.json.send]
url = "http://example.org/send"
json = { t = "{{ text }}", deep = { list = ["{{ context.more }}", "<{{ text }}>"] } }

[backends.xml]
type = "http"
[backends.xml.send]
url = "http://example.org/send"
xml = "<sms ref='{{ context.more }}'><to>{{ identity }}</to><text kind=\"a {{ text }}\">{{ text }}</text></sms>"

[backends.list]
type = "http"
[backends.list.send]
url = "http://example.org/send"
json = [{ to = "{{ identity }}", t = "{{ text }}", n = [1, true, { deep = ["{{ context.more }}"] }] }, "{{ context.absent }}"]

[backends.nested]
type = "http"
[backends.nested.send]
url = "http://example.org/send"
query = { q = ["{{ text }}", 7] }
form = { to = "{{ identity }}", message = { type = "text", t = "{{ text }}", gone = { x = "{{ context.absent }}" } }, absent = { x = "{{ context.absent }}" } }

[backends.within]
type = "http"
[backends.within.send]
url = "http://example.org/send"
json = { content = "{{ {'t': text, 'm': [context.more]} | tojson }}" }

[backends.either]
type = "http"
[backends.either.send]
url = "http://example.org/send"
form = { to = "{{ identity }}", t = "{{ text if context.more == 'text' }}", u = "{{ text if context.more == 'other' }}" }

[backends.context]
type = "http"
[backends.context.send]
url = "http://example.org/send"
json = { to = "{{ identity }}", body = "{{ context.more }}" }
"#;

static CONFIGURED: LazyLock<Config> =
    LazyLock::new(|| Config::parse("test.toml", Some(CONFIG), [], &ProviderRegistry::builtin()).unwrap());

fn request(backend: &str, text: &str, more: &str) -> Result<Request, Failure> {
    let backend = &CONFIGURED.backends[&backend.parse().unwrap()];
    let plan = Plan::new(backend.definition.connector.http().unwrap()).unwrap();
    let mut context = Context::new();
    context.insert("more".to_owned(), more.into());
    let scope = Constants::new(backend).message(MessageId::default(), text, &context, None);
    let to: Identity = "+15551234567".parse().unwrap();
    plan.request(&scope.to(&[to], Recipients::Each, ","))
}

fn body(request: &Request) -> &[u8] {
    request.body().and_then(|body| body.as_bytes()).unwrap_or_default()
}

fn pairs(encoded: &[u8]) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    form_urlencoded::parse(encoded).collect()
}

/// Any text that people write, but more often characters with a meaning in a URL, a header or JSON.
fn words() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[./?#&=%+;@:\\\\\"'{}<>\r\n\t \u{0}é2eE😀-]{0,12}"]
}

proptest! {
    #[test]
    fn of_a_path_a_query_a_form_and_a_header(text in words(), more in words()) {
        let request = match request("form", &text, &more) {
            Ok(request) => request,
            Err(failure) => {
                prop_assert!([".", ".."].contains(&&*text), "{text:?} {more:?}: {failure:?}");
                prop_assert_eq!(failure.class, FailureClass::Permanent);
                return Ok(());
            }
        };
        let url = request.url();
        prop_assert_eq!((url.scheme(), url.host_str(), url.fragment()), ("http", Some("example.org"), None));
        let path: Vec<_> = url.path().split('/').map(decoded).collect();
        prop_assert_eq!(&path, &["".to_owned(), "a".to_owned(), text.clone(), format!("b{more}")]);
        let mixed = format!("<{more}>");
        prop_assert_eq!(
            pairs(url.query().unwrap().as_bytes()),
            [("p", &text), ("q", &text), ("mixed", &mixed)].map(|(name, value)| (name.into(), Cow::from(value)))
        );
        prop_assert_eq!(
            pairs(body(&request)),
            [("t", &*text), ("to", "+15551234567"), ("c", &*more)].map(|(name, value)| (name.into(), value.into()))
        );
        let headers: IndexMap<_, _> = request.headers().iter().collect();
        prop_assert_eq!(headers.len(), 3, "{:?}", headers);
        for (_, value) in headers {
            prop_assert!(!value.as_bytes().iter().any(|byte| byte.is_ascii_control()));
        }
    }

    #[test]
    fn of_json(text in words(), more in words()) {
        let request = request("json", &text, &more).unwrap();
        let read: serde_json::Value = serde_json::from_slice(body(&request)).unwrap();
        let expected = serde_json::json!({"t": text, "deep": {"list": [more, format!("<{text}>")]}});
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn of_a_list_of_json(text in words(), more in words()) {
        let request = request("list", &text, &more).unwrap();
        let read: serde_json::Value = serde_json::from_slice(body(&request)).unwrap();
        let deep = serde_json::json!([1, true, {"deep": [more]}]);
        prop_assert_eq!(read, serde_json::json!([{"to": "+15551234567", "t": text, "n": deep}]));
    }

    #[test]
    fn of_json_in_a_form_and_in_a_query(text in words()) {
        let request = request("nested", &text, "").unwrap();
        let (list, message) = (serde_json::json!([text, 7]), serde_json::json!({"type": "text", "t": text}));
        let one = |name: &'static str, value: String| (Cow::from(name), Cow::from(value));
        prop_assert_eq!(pairs(request.url().query().unwrap().as_bytes()), [one("q", list.to_string())]);
        let to = one("to", "+15551234567".to_owned());
        prop_assert_eq!(pairs(body(&request)), [to, one("message", message.to_string())]);
    }

    #[test]
    fn of_json_within_a_text_of_json(text in words(), more in words()) {
        let request = request("within", &text, &more).unwrap();
        let read: serde_json::Value = serde_json::from_slice(body(&request)).unwrap();
        let within: serde_json::Value = serde_json::from_str(read["content"].as_str().unwrap()).unwrap();
        prop_assert_eq!(within, serde_json::json!({"t": text, "m": [more]}));
    }

    #[test]
    fn of_xml(text in words(), more in words()) {
        let request = request("xml", &text, &more).unwrap();
        prop_assert_eq!(&request.headers()["content-type"], "application/xml; charset=utf-8");
        let xml = String::from_utf8(body(&request).to_vec()).unwrap();
        let read = xml_within(&xml, JsonLimits { values: 10, name: 10, text: 10_000 }).unwrap();
        // Characters that XML cannot hold are left out.
        let kept = |text: &str| -> String {
            let is_kept = |c: &char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
            text.chars().filter(is_kept).collect()
        };
        let (text, more) = (kept(&text), kept(&more));
        let sms = serde_json::json!({
            "@ref": more, "to": "+15551234567", "text": {"@kind": format!("a {text}"), "#text": text},
        });
        prop_assert_eq!(read, serde_json::json!({"sms": sms}));
    }
}

#[test]
fn a_value_that_leads_elsewhere_in_a_path_is_refused() {
    for text in [".", ".."] {
        let failure = request("form", text, "").unwrap_err();
        assert_eq!((failure.class, &*failure.code), (FailureClass::Permanent, "url"), "{text}");
    }
    for (text, segment) in [("...", "..."), ("%2e%2E", "%252e%252E"), ("../..", "..%2F.."), (".\\.", ".%5C.")]
    {
        let request = request("form", text, "").unwrap();
        assert_eq!(request.url().path(), format!("/a/{segment}/b"), "{text}");
    }
}

#[test]
fn a_request_in_which_nothing_of_the_message_is_left_is_not_made() {
    for (backend, text, more, made) in [
        ("either", "hello", "text", true),
        ("either", "hello", "other", true),
        ("either", "hello", "neither", false),
        ("either", "", "neither", true),
        ("context", "hello", "hi", true),
        ("context", "hello", "", true),
        ("form", "hello", "", true),
    ] {
        let request = request(backend, text, more);
        assert_eq!(request.is_ok(), made, "{backend}, {text}, {more}");
        let failure = request.err().map(|failure| (failure.class, failure.code.to_string()));
        assert_eq!(failure, (!made).then(|| (FailureClass::Config, "template".to_owned())));
    }
}

fn decoded(segment: &str) -> String {
    let bytes: Vec<u8> = form_urlencoded::parse(format!("x={}", segment.replace('+', "%2B")).as_bytes())
        .next()
        .map(|(_, value)| value.into_owned().into_bytes())
        .unwrap_or_default();
    String::from_utf8(bytes).unwrap()
}
