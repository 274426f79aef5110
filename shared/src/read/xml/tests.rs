//! What XML becomes, and what is not XML.

use super::*;
use proptest::prelude::*;
use serde_json::json;

const LIMITS: JsonLimits = JsonLimits { values: 12, name: 8, text: 40 };

fn read(text: &str) -> Result<Value, String> {
    xml_within(text, LIMITS).map_err(|why| why.to_string())
}

#[test]
fn elements_are_members_and_several_of_one_name_a_list() {
    for (text, value) in [
        ("<a/>", json!({"a": ""})),
        ("<a>x</a>", json!({"a": "x"})),
        ("<?xml version=\"1.0\"?>\n<!-- c --><a><b> x </b></a>\n\0", json!({"a": {"b": " x "}})),
        ("<a><b>1</b><c/><b>2</b><b><d>3</d></b></a>", json!({"a": {"b": ["1", "2", {"d": "3"}], "c": ""}})),
        ("<a i='1' j=\"2\">x</a>", json!({"a": {"@i": "1", "@j": "2", "#text": "x"}})),
        ("<a i='1'/>", json!({"a": {"@i": "1", "#text": ""}})),
        ("<a i='1'>\n <b/>\n</a>", json!({"a": {"@i": "1", "b": ""}})),
        ("<a>x<b/>y</a>", json!({"a": {"b": "", "#text": "xy"}})),
        (
            "<s:a xmlns:s='u' xmlns='v'><s:b xsi:type='t'>x</s:b></s:a>",
            json!({"a": {"b": {"@type": "t", "#text": "x"}}}),
        ),
        ("<a><![CDATA[<b>&amp;]]>&amp;</a>", json!({"a": "<b>&amp;&"})),
        ("<a>1\r\n2</a>", json!({"a": "1\n2"})),
    ] {
        assert_eq!(read(text), Ok(value), "{text}");
    }
}

#[test]
fn what_a_person_wrote_is_read_however_it_was_escaped() {
    for (written, text) in [
        ("&lt;&gt;&amp;&quot;&apos;", "<>&\"'"),
        ("&#65;&#x42;&#x1F64F;", "AB🙏"),
        ("&#55357;&#56911; &#xD83D;&#xDE4F;", "🙏 🙏"),
        ("&#55357;x&#56911;", "\u{fffd}x\u{fffd}"),
        ("&#55357;&#55357;&#56911;", "\u{fffd}🙏"),
        ("&#0;a&#x110000;", "a"),
        ("&#7;\u{1b}\u{b}", "\u{7}\u{1b}\u{b}"),
        ("fish & chips &", "fish & chips &"),
        ("R&D; &nbsp;&#z;", "R&D; &nbsp;&#z;"),
    ] {
        assert_eq!(read(&format!("<a>{written}</a>")), Ok(json!({"a": text})), "{written}");
        let attribute = read(&format!("<a b=\"{written}\"/>"));
        assert_eq!(attribute, Ok(json!({"a": {"@b": text, "#text": ""}})), "{written}");
    }
}

#[test]
fn what_is_no_xml_or_too_much_says_so() {
    for (text, says) in [
        ("", "incomplete"),
        ("<a>", "incomplete"),
        ("<a><b></b>", "incomplete"),
        ("<a", "incomplete"),
        ("<a>x", "incomplete"),
        ("x<a/>", "not valid XML (line 1"),
        ("<a/>x", "not valid XML (line 1, column 6)"),
        ("<a/><b/>", "not valid XML"),
        ("<a>\n</b></a>", "not valid XML (line 2"),
        ("<a b=1/>", "not valid XML"),
        ("< />", "not valid XML"),
        ("<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>", "document type"),
        ("<!DOCTYPE a SYSTEM \"file:///etc/passwd\"><a/>", "document type"),
        (&format!("{}x", "<a>".repeat(65)), "too many"),
        (&format!("<a>{}", "<b/>".repeat(12)), "too many"),
        (&format!("<a {}", "b='1' ".repeat(12) + ">"), "too many"),
        ("<a><toolongname>", "a name that is too long"),
        ("<a toolongname='1'>", "a name that is too long"),
        (&format!("<a>{}", "x".repeat(41) + "</a><"), "a text that is too long"),
        (&format!("<a>{}", "&amp;".repeat(41)), "a text that is too long"),
        (&format!("<a>{}", "&#55357;&#56911;".repeat(11)), "a text that is too long"),
        (&format!("<a b='{}'>", "x".repeat(41)), "a text that is too long"),
    ] {
        let why = read(text).unwrap_err();
        assert!(why.contains(says), "{text}: {why}");
    }
    let deep = JsonLimits { values: 1_000, ..LIMITS };
    let nested = |levels: usize| format!("{}{}", "<a>".repeat(levels), "</a>".repeat(levels));
    assert!(xml_within(&nested(MAX_DEPTH), deep).is_ok());
    assert_eq!(xml_within(&nested(MAX_DEPTH + 1), deep), Err(XmlNotTaken::Depth));
    assert!(XmlNotTaken::Depth.is_too_much() && !XmlNotTaken::DocumentType.is_too_much());
}

#[test]
fn xml_is_told_from_json() {
    for (text, is) in
        [("<a/>", true), (" \n<a", true), ("\u{feff}<a/>", true), ("{\"a\": \"<\"}", false), ("", false)]
    {
        assert_eq!(looks_like_xml(text.as_bytes()), is, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(<a>|</a>|<b c='|'/>|<!\\[CDATA\\[|]]>|&#|;|&|<!--|-->|<\\?|\\?>|x|[0-9]|\\PC){0,20}") {
        let _ = xml_within(&text, LIMITS);
    }

    #[test]
    fn what_was_escaped_comes_back(text in "\\PC{0,10}") {
        let escaped = quick_xml::escape::escape(&text);
        prop_assert_eq!(read(&format!("<a>{escaped}</a>")), Ok(json!({"a": text})));
    }
}
