//! Parameters and charsets, items and limits.

use super::*;
use actix_web::http::header::HeaderValue;
use encoding_rs::{UTF_8, WINDOWS_1252};
use proptest::prelude::*;

const LIMITS: ParameterLimits = ParameterLimits { max_fields: 10, max_key: 20, max_value: 100 };

/// The value of `name` in a POST of `body`; `Err(None)` for a 415.
fn post(content_type: &str, body: &[u8], name: &str) -> Result<Option<String>, Option<Errors>> {
    read(None, content_type, body, name)
}

/// The same with `charset` as `receive.charset`.
fn read(
    charset: Option<&'static Encoding>,
    content_type: &str,
    body: &[u8],
    name: &str,
) -> Result<Option<String>, Option<Errors>> {
    let mut headers = HeaderMap::new();
    if !content_type.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap());
    }
    let body = Bytes::copy_from_slice(body);
    let raw = RawRequest { method: &Method::POST, headers: &headers, query: "a=query", body: &body };
    match Request::parse(raw, None, charset, &LIMITS) {
        Ok(request) => match request.find(name) {
            Found::Absent => Ok(None),
            Found::Text(text) => Ok(Some(text.into_owned())),
            Found::NoText => Ok(Some("NO TEXT".to_owned())),
        },
        Err(Unreadable::MediaType(_)) => Err(None),
        Err(Unreadable::Malformed(errors)) => Err(Some(errors)),
    }
}

#[test]
fn a_body_may_be_the_text_itself() {
    let read = |content_type: &str, charset, body: &[u8]| {
        let headers = [(CONTENT_TYPE, HeaderValue::from_str(content_type).unwrap())].into_iter().collect();
        let body = Bytes::copy_from_slice(body);
        let raw = RawRequest { method: &Method::POST, headers: &headers, query: "a=1&body=2", body: &body };
        let request = Request::parse(raw, Some(BodyFormat::Text), charset, &LIMITS);
        let request = request.map_err(|_| ())?;
        assert!(request.find("a") == Found::Text("1".into()));
        let Found::Text(text) = request.find(BODY) else { return Err(()) };
        Ok(text.into_owned())
    };
    for (content_type, charset, body, text) in [
        ("text/plain; charset=\"UTF-8\"", None, "a=b&c é".as_bytes(), "a=b&c é"),
        ("text/plain; charset=\"UTF-16BE\"", None, b"\x04\x1f", "П"),
        ("text/plain; charset=\"UTF-16BE\"", Some(WINDOWS_1252), b"\xe9", "é"),
        ("application/octet-stream", None, b"\xe9", "\u{fffd}"),
        ("application/json", None, b"{", "{"),
        ("text/plain", None, b"", ""),
    ] {
        assert_eq!(read(content_type, charset, body).as_deref(), Ok(text), "{content_type}");
    }
    assert_eq!(read("text/plain", None, &[b'a'; 101]), Err(()), "longer than max_value");
}

#[test]
fn a_body_is_read_as_its_content_type_says() {
    let form = "application/x-www-form-urlencoded";
    let json = "application/json";
    for (content_type, body, name, expected) in [
        (form, &b"a=1&a=2"[..], "a", Some("2")),
        (form, b"b=1", "a", None),
        (form, b"a=%E9", "a", Some("\u{fffd}")),
        (form, b"a=\xef\xbb\xbfx", "a", Some("x")),
        ("application/x-www-form-urlencoded; charset=ISO-8859-1", b"a=%E9", "a", Some("é")),
        ("application/x-www-form-urlencoded; Charset=\"utf-16be\"", b"a=%D8%3D%DE%00", "a", Some("😀")),
        ("application/x-www-form-urlencoded; charset=martian", b"a=%C3%A9", "a", Some("é")),
        ("APPLICATION/X-WWW-FORM-URLENCODED", b"a=1", "a", Some("1")),
        ("", b"a=1", "a", Some("1")),
        ("", b"", "a", Some("query")),
        (json, b"", "a", Some("query")),
        ("text/plain", b"", "a", Some("query")),
        ("multipart/form-data; boundary=B", b"", "a", Some("query")),
        ("multipart/form-data; boundary=B", b"--B--\r\n", "a", Some("query")),
        ("text/json", br#"{"a":"1"}"#, "a", Some("1")),
        ("application/json; charset=ISO-8859-1", "{\"a\":\"é\"}".as_bytes(), "a", Some("é")),
        ("application/json; charset=ISO-8859-1", b"{\"a\":\"\xe9\"}", "a", Some("é")),
        (json, br#"{"a":"hi \ud83d"}"#, "a", Some("hi \u{fffd}")),
        (json, b"{\"a\":\"two\r\nlines\"}", "a", Some("two\r\nlines")),
        ("multipart/form-data; boundary=----=_Part_1:1/1", b"------=_Part_1:1/1\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n------=_Part_1:1/1--\r\n", "a", Some("1")),
        (form, b"/a=1", "/a", Some("1")),
        (json, br#"{"a":"1","a":"2"}"#, "a", Some("2")),
        (json, br#"{"a":15551234567}"#, "a", Some("15551234567")),
        (json, br#"{"a":true}"#, "/a", Some("true")),
        (json, br#"{"a":1.5}"#, "/a", Some("1.5")),
        (json, br#"{"a":null}"#, "/a", None),
        (json, br#"{"a":[]}"#, "/a", Some("NO TEXT")),
        (json, br#"{"a":4831666765594842123456}"#, "/a", Some("4831666765594842123456")),
        (json, br#"{"a":1.1e10}"#, "a", Some("11000000000")),
        (json, br#"{"a":15550100.0,"b":1e400}"#, "/a", Some("15550100")),
        (json, br#"{"a":{"b":[{"c":"x"}]}}"#, "/a/b/0/c", Some("x")),
        (json, br#"[{"c":"x"}]"#, "/0/c", Some("x")),
        (json, br#"[{"c":"x"}]"#, "c", None),
        (json, br#""x""#, "c", None),
        (json, b"{\"a\":\"\xff\"}", "a", Some("\u{fffd}")),
        ("application/json; charset=utf-8", br#"{"a":"1"}"#, "a", Some("1")),
        ("application/cloudevents+json", br#"{"a":"1"}"#, "a", Some("1")),
        ("text/xml", b"<?xml version=\"1.0\"?><sms><a> 1 </a></sms>", "/sms/a", Some(" 1 ")),
        ("application/xml", b"<sms a='1'><b c='2'>x</b></sms>", "/sms/@a", Some("1")),
        ("application/xml", b"<sms a='1'><b c='2'>x</b></sms>", "/sms/b", Some("x")),
        ("application/xml", b"<sms><a>1</a><a>2</a></sms>", "/sms/a", Some("NO TEXT")),
        ("application/xml", b"<sms><a>1</a><a>2</a></sms>", "/sms/a/1", Some("2")),
        ("application/soap+xml; charset=ISO-8859-1", b"<a>\xe9</a>", "a", Some("é")),
    ] {
        let got = post(content_type, body, name);
        assert_eq!(got, Ok(expected.map(str::to_owned)), "{content_type} {body:?}");
    }
}

#[test]
fn an_item_of_a_batch_has_the_body_and_the_query_around_it() {
    let (headers, nothing) = (HeaderMap::new(), Bytes::new());
    let body = Bytes::from_static(
        br#"{"id":"B","items":[{"id":"I","n":null,"^/id":"c"},7],"to":"whole","deep":{"x":[1]}}"#,
    );
    let limits = ParameterLimits { max_fields: 20, ..LIMITS };
    let raw = RawRequest { method: &Method::POST, headers: &headers, query: "", body: &body };
    let whole = Request::parse(raw, Some(BodyFormat::Json), None, &limits).unwrap();
    let raw = RawRequest { method: &Method::GET, headers: &headers, query: "to=Q&id=Q&n=Q", body: &nothing };
    let query = Request::parse(raw, None, None, &LIMITS).unwrap();
    let items = whole.json_value("items").and_then(Value::as_array).unwrap();
    let item = |number: usize| whole.item(&items[number], &query).unwrap();
    for (number, name, wanted) in [
        (0, "/id", Some("I")),
        (0, "id", Some("I")),
        (0, "^/id", Some("B")),
        (0, "^/deep/x/0", Some("1")),
        (0, "^/items/1", Some("7")),
        (0, "to", Some("Q")),
        (0, "n", Some("Q")),
        (0, "/n", None),
        (0, "/to", None),
        (0, "^/none", None),
        (1, "/id", None),
        (1, "id", Some("Q")),
        (1, "^/id", Some("B")),
    ] {
        let found = item(number);
        let text = match found.find(name) {
            Found::Text(text) => Some(text.into_owned()),
            other => {
                assert!(matches!(other, Found::Absent), "{number} {name}");
                None
            }
        };
        assert_eq!(text.as_deref(), wanted, "{number} {name}");
    }
    assert!(matches!(whole.find("^/id"), Found::Text(id) if id == "B"), "without a batch as with one");
    assert!(matches!(whole.find("n"), Found::Absent));
}

#[test]
fn the_configured_charset_overrules_the_declared_one() {
    let form = "application/x-www-form-urlencoded";
    let part = "--B\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n";
    let part = [part.as_bytes(), b"\xe9\r\n--B--\r\n"].concat();
    for (charset, content_type, body, expected) in [
        (Some(UTF_8), &format!("{form}; charset=ISO-8859-1")[..], &b"a=%C3%A9"[..], "é"),
        (Some(WINDOWS_1252), &format!("{form}; charset=utf-8"), b"a=%E9", "é"),
        (Some(WINDOWS_1252), form, b"a=%E9", "é"),
        (Some(WINDOWS_1252), "", b"a=%E9", "é"),
        (Some(WINDOWS_1252), "multipart/form-data; boundary=B", &part, "é"),
        (None, "multipart/form-data; boundary=B", &part, "\u{fffd}"),
        (None, &format!("{form}; charset=ISO-8859-1"), b"a=%E9", "é"),
        (None, form, b"a=%C3%A9", "é"),
        (Some(WINDOWS_1252), "application/json", "{\"a\":\"é\"}".as_bytes(), "é"),
        (Some(UTF_8), "application/json; charset=ISO-8859-1", "{\"a\":\"é\"}".as_bytes(), "é"),
        (Some(WINDOWS_1252), "application/json", b"{\"a\":\"\xe9\"}", "é"),
        (Some(UTF_8), "text/xml; charset=ISO-8859-1", "<a>é</a>".as_bytes(), "é"),
        (Some(WINDOWS_1252), "text/xml", b"<?xml version='1.0' encoding='UTF-8'?><a>\xe9</a>", "é"),
    ] {
        let got = read(charset, content_type, body, "a");
        assert_eq!(got, Ok(Some(expected.to_owned())), "{charset:?} {content_type}");
    }
}

#[test]
fn what_cannot_be_read_says_why() {
    let json = "application/json";
    let deep = "[".repeat(200) + &"]".repeat(200);
    let long = "x".repeat(101);
    for (content_type, body, says) in [
        ("text/plain", "a=1", None),
        ("application/pdf", "<a/>", None),
        ("nonsense", "a", None),
        (json, " ", Some("incomplete")),
        (json, "{", Some("incomplete")),
        (json, "{]", Some("not valid JSON (line 1, column 2)")),
        (json, "{} x", Some("not valid JSON")),
        (json, &deep, Some("at most 10 parameters")),
        ("multipart/form-data", "x", Some("boundary")),
        ("", "a&a&a&a&a&a&a&a&a&a&a", Some("at most 10 parameters")),
        (json, "[1,2,3,4,5,6,7,8,9,10,11]", Some("at most 10 parameters")),
        (json, r#"{"a":[{"b":1,"c":2,"d":3,"e":4},5,6,7,8,9]}"#, Some("at most 10 parameters")),
        (json, r#"{"a":{"123456789012345678901":1}}"#, Some("name may have at most 20 bytes")),
        (json, &format!("\"{long}\""), Some("a value may have at most 100 bytes")),
        (json, &format!("{{\"a\":[\"{long}\"]}}"), Some("a: at most 100 bytes")),
    ] {
        match (post(content_type, body.as_bytes(), "a").unwrap_err(), says) {
            (None, None) => {}
            (Some(errors), Some(says)) => assert!(errors.to_string().contains(says), "{body}: {errors}"),
            (got, _) => panic!("{content_type} {body}: {got:?}"),
        }
    }
}

#[test]
fn nothing_prints_what_people_wrote() {
    let (headers, body) = (HeaderMap::new(), Bytes::from_static(b"text=hush"));
    let raw = RawRequest { method: &Method::POST, headers: &headers, query: "", body: &body };
    let request = Request::parse(raw, None, None, &LIMITS).unwrap();
    assert!(!format!("{request:?} {:?}", request.parameters).contains("hush"));
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(
        kind in prop_oneof!["application/json", "", "multipart/form-data; boundary=-*", "[ -~]{0,40}"],
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "[\\[\\]{}\",:0-9a-z\\\\-]{0,100}".prop_map(String::into_bytes),
        ],
        name in "/?.{0,10}",
    ) {
        let _ = post(&kind, &body, &name);
    }
}
