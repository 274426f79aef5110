//! Which texts of a configuration are hidden, and in which spellings.

use super::*;
use postern_config::{Config, ProviderRegistry};
use proptest::prelude::*;

fn redactor(backend: &str) -> Redactor {
    let text = format!("[ingress]\npublic_url = \"https://h\"\n[api]\nlisten = \"127.0.0.1:0\"\n{backend}\n");
    let config = Config::parse("test", Some(&text), [], &ProviderRegistry::builtin()).unwrap();
    let backend = config.backends.values().next().unwrap();
    Redactor::new(backend, backend.definition.connector.http().unwrap(), None)
}

/// A backend with this `send` table.
fn sending(send: &str) -> Redactor {
    redactor(&format!("[backends.x]\ntype = \"http\"\n[backends.x.send]\n{send}"))
}

#[test]
fn every_fixed_text_of_a_request_is_hidden() {
    for (send, secrets) in [
        ("url = \"http://h/botSECRET/send?key=SECRET2\"", &["botSECRET", "SECRET2"][..]),
        (
            "url = \"https://h/hush/{{ identity }}/a%2Fb%2Fc?t=x+y%2Bz&u={{ text }}after\"",
            &["hush", "a/b/c", "a%2Fb%2Fc", "x+y%2Bz", "x y+z", "after"],
        ),
        ("url = \"https://h/bot123456:AbC-dEf/sendMessage\"", &["bot123456:AbC-dEf", "AbC-dEf", "bot123456"]),
        (
            "url = \"http://h/\"\njson = { api_key = \"SECRET3\", a = [{ b = [\"deep-hush\", 471147] }] }",
            &["SECRET3", "deep-hush", "471147"],
        ),
        (
            "url = \"http://h/\"\njson = { auth = \"hush-{{ identity }}-hush2\", x = \"{{ 'in-quotes' ~ id }}\" }",
            &["hush-", "-hush2", "in-quotes"],
        ),
        (
            "url = \"http://h/\"\nquery = { k = \"p4ss{{ text }}\" }\nheaders = { X-Key = \"Key hush-hush\" }",
            &["p4ss", "hush-hush", "Key hush-hush"],
        ),
        (
            "url = \"http://h/\"\nform = { dlr = \"https://cb.example.org/in?token=t0ken&id={{ id }}\" }",
            &["t0ken"],
        ),
        (
            "url = \"http://h/\"\nheaders = { Authorization = \"Basic dXNlcjpodXNo\" }",
            &["dXNlcjpodXNo", "user", "hush"],
        ),
        (
            "url = \"http://h/\"\nform = { a = \"{% if text %}hush{% endif %}\" }\ndefaults = \"{{ {'pass': 'word1'} }}\"",
            &["hush", "word1"],
        ),
        (
            "url = \"http://h/\"\nxml = \"<send key='hush'><pin>w0rd</pin><to>a-{{ text }}-zz99</to></send>\"",
            &["hush", "w0rd", "-zz99"],
        ),
        ("url = \"http://h/\"\njson = [[\"hush\", \"{{ text }}\"]]", &["hush"]),
        ("url = \"http://h/\"\nform = { m = { key = \"hush\", t = \"{{ text }}\" } }", &["hush"]),
    ] {
        let redactor = sending(send);
        for secret in secrets {
            assert_eq!(redactor.detail(&format!("bad: <{secret}>")), format!("bad: <{HIDDEN}>"), "{send}");
        }
    }
    let settings = "[backends.x]\ntype = \"http\"\nsettings = { u = \"http://h/x?key=in-url\", report_url = \"http://hush:p4ss@h/x\", l = [\"deep-hush\"], n = 471147 }\n\
                    receive = { auth = { token = { secret = \"shown\", query = \"t\" } } }\nsend = { url = \"http://h/\" }";
    for secret in ["in-url", "hush", "p4ss", "deep-hush", "471147", "shown"] {
        assert_eq!(redactor(settings).detail(secret), HIDDEN, "{secret}");
    }
}

#[test]
fn what_many_interfaces_have_in_common_stays_legible() {
    let send = "url = \"https://api.example.org/v1/2010-04-01/http-api/send_sms.php?type=text&charset=utf-8\"\n\
                headers = { Accept = \"application/json\" }\njson = { type = \"text\", messaging_product = \"whatsapp\", n = 12 }";
    let said =
        "v1 http-api send_sms.php type text utf-8 application/json whatsapp api.example.org 12 2010-04-01";
    assert_eq!(sending(send).detail(said), said);
    let xml = "url = \"http://h/\"\nxml = \"<submission><recipient>{{ identity }}</recipient></submission>\"";
    assert_eq!(sending(xml).detail("<submission><recipient/>"), "<submission><recipient/>");
    let providers = [
        ("africastalking", "username = \"u-secret\", api_key = \"k-secret\""),
        ("twilio", "account_sid = \"AC-secret\", auth_token = \"t-secret\", from = \"+15550000\""),
        ("kannel", "sendsms_url = \"http://h/cgi-bin/sendsms\""),
        ("vumi", "sendsms_url = \"http://h/x\""),
    ];
    for (kind, settings) in providers {
        let redactor = redactor(&format!("[backends.x]\ntype = \"{kind}\"\nsettings = {{ {settings} }}"));
        let said = "The message to this number is not accepted: Accounts, messaging, Messages.json, application/json";
        assert_eq!(redactor.detail(said), said, "{kind}");
    }
}

#[test]
fn a_secret_is_found_in_every_spelling() {
    let redactor = sending("url = \"http://h/\"\nauth = { bearer = \"s3cr/t +é'\\\"<&>😀\" }");
    for spelled in [
        r#"s3cr/t +é'"<&>😀"#,
        r#"s3cr\/t +é'\"<&>😀"#,
        r#"s3cr\u002ft \u002b\u00e9\u0027\u0022\u003c\u0026\u003e\ud83d\ude00"#,
        r#"s3cr\x2ft +\xe9\'\"<&>\uD83D\uDE00"#,
        "s3cr%2Ft%20%2B%C3%A9%27%22%3C%26%3E%F0%9F%98%80",
        "s3cr%2ft+%2b%c3%a9%27%22%3c%26%3e%f0%9f%98%80",
        "s3cr&#x2F;t &plus;&#233;&#39;&quot;&lt;&amp;&gt;&#x1F600;",
        "s3cr&sol;t&nbsp;+é&apos;&#34;&lt;&#38;&gt;😀",
        // One spelling within another.
        r#"s3cr&#x2F;t +é&#039;\"&lt;&amp;&gt;😀"#,
        r#"s3cr\\\/t +é'\\\"<&>\ud83d\ude00"#,
        "s3cr%252Ft%2520%252B%25C3%25A9%2527%2522%253C%2526%253E%25F0%259F%2598%2580",
        r#"s3cr\u0026#x2F;t +é'\u0026quot;\u0026lt;\u0026amp;\u0026gt;😀"#,
    ] {
        assert_eq!(redactor.detail(&format!("<{spelled}>")), format!("<{HIDDEN}>"), "{spelled}");
    }
    assert_eq!(redactor.detail(r"100 % & \ + &unknown; \ud83d %zz %"), r"100 % & \ + &unknown; \ud83d %zz %");
}

#[test]
fn none_is_left_in_part() {
    let redactor = Redactor::hiding(&[
        "abcd-efgh".to_owned(),
        "abcd".to_owned(),
        "efgh-ijkl".to_owned(),
        "abc".to_owned(),
    ]);
    assert_eq!(redactor.detail("abcd-efgh-ijkl abcd abc"), "[REDACTED] [REDACTED] abc");
    // No part of a secret remains at the place where the text is cut.
    let long = "s".repeat(2_000);
    let redactor = Redactor::hiding(std::slice::from_ref(&long));
    assert_eq!(redactor.detail(&format!("{long}{long}")), HIDDEN);
    for before in [0, 190, 4_000, 4_095] {
        let detail = redactor.detail(&format!("{}{long} end", " ".repeat(before)));
        assert!(!detail.contains("sss"), "{before}: {detail}");
    }
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic_or_keeps_a_secret(
        before in "[ -~é\\\\&%+;#xu0-9]{0,40}",
        secret in "[!-~]{4,12}",
        after in "[ -~é\\\\&%+;#xu0-9]{0,40}",
    ) {
        let detail = Redactor::hiding(std::slice::from_ref(&secret)).detail(&format!("{before}{secret}{after}"));
        prop_assert!(HIDDEN.contains(&secret) || !detail.replace(HIDDEN, "\n").contains(&secret), "{}", detail);
    }
}
