//! `send.xml`: an XML text as a template. Values are allowed in the text of an element and in an attribute, and
//! cannot leave it.

use super::{Escape, NAMES, RenderError, Template, usage};
use minijinja::Value;
use quick_xml::{Reader, events::Event};
use serde::{Deserialize, Deserializer, de};
use std::borrow::Cow;

/// The placeholder for a value while the template is checked: a code point that is not a character.
const VALUE: &str = "\u{fdd0}";

/// A template for XML. Each value is escaped so that it cannot leave the text of an element or an attribute.
/// Characters that XML cannot hold (XML 1.0, 2.2) are left out.
#[derive(Clone, Debug)]
pub struct XmlTemplate(Template);

impl XmlTemplate {
    /// Compiles `source`, which must be well-formed XML without a document type for any outcome of its
    /// conditions and loops, with values in texts and attributes only.
    ///
    /// # Errors
    /// A text for the user.
    pub fn parse(source: &str) -> Result<Self, String> {
        let template = Template::compile(source, &NAMES, Escape::Xml)?;
        texts(source).map(|_| Self(template))
    }

    /// The template as it was written.
    pub fn source(&self) -> &str {
        self.0.source()
    }

    /// The XML for the message that `scope` holds.
    ///
    /// # Errors
    /// [`RenderError`]
    pub fn render(&self, scope: &Value) -> Result<String, RenderError> {
        self.0.render(scope)
    }

    /// The texts of elements and attributes, as templates.
    pub fn texts(&self) -> Vec<String> {
        texts(self.source()).unwrap_or_default()
    }
}

impl<'de> Deserialize<'de> for XmlTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// The texts of elements and attributes of the template `source`, as written, but with `{{ }}` for each value.
///
/// # Errors
/// What is wrong with `source`.
fn texts(source: &str) -> Result<Vec<String>, String> {
    let plain = usage::with_values_as(source, VALUE);
    let mut reader = Reader::from_str(&plain);
    let (mut depth, mut elements, mut texts) = (0_usize, 0_usize, Vec::new());
    let plain_name = |name: &[u8]| !String::from_utf8_lossy(name).contains(VALUE);
    let readable = |text: Cow<'_, str>| text.replace(VALUE, "{{ }}");
    loop {
        let event = reader.read_event().map_err(|error| format!("is not well-formed XML: {error}"))?;
        match event {
            Event::Start(ref tag) | Event::Empty(ref tag) => {
                if !plain_name(tag.name().as_ref()) {
                    return Err("a value cannot be the name of an element".to_owned());
                }
                for attribute in tag.attributes() {
                    let attribute = attribute.map_err(|error| format!("is not well-formed XML: {error}"))?;
                    if !plain_name(attribute.key.as_ref()) {
                        return Err("a value cannot be the name of an attribute".to_owned());
                    }
                    texts.push(readable(String::from_utf8_lossy(&attribute.value)));
                }
                elements += usize::from(depth == 0);
                depth += usize::from(matches!(event, Event::Start(_)));
            }
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::Text(text) if depth == 0 && !text.trim_ascii().is_empty() => {
                return Err("there is text outside the outermost element".to_owned());
            }
            Event::Text(text) => texts.push(readable(String::from_utf8_lossy(&text))),
            Event::GeneralRef(_) => {}
            Event::Decl(declaration) => {
                let charset = declaration.encoding().and_then(Result::ok).unwrap_or(Cow::Borrowed(b"utf-8"));
                if !charset.eq_ignore_ascii_case(b"utf-8") {
                    return Err("is sent as UTF-8: write encoding=\"UTF-8\", or remove it".to_owned());
                }
            }
            Event::DocType(_) => return Err("a document type is not allowed".to_owned()),
            Event::CData(text) if plain_name(&text) => texts.push(readable(String::from_utf8_lossy(&text))),
            Event::Comment(text) if plain_name(&text) => {}
            Event::PI(text) if plain_name(&text) => {}
            Event::CData(_) => {
                return Err(
                    "a value in <![CDATA[…]]> could end the section: write the value without CDATA, it is \
                     escaped"
                        .to_owned(),
                );
            }
            Event::Comment(_) | Event::PI(_) => {
                return Err("a value cannot be part of a comment or an instruction".to_owned());
            }
            Event::Eof => break,
        }
    }
    match (depth, elements) {
        (0, 1) => {
            texts.retain(|text| !text.trim().is_empty());
            Ok(texts)
        }
        (0, 0) => Err("has no element".to_owned()),
        (0, _) => Err("has more than one outermost element".to_owned()),
        _ => Err("is not well-formed XML: an element is not ended".to_owned()),
    }
}

/// Writes `text` escaped for the text of an element and for an attribute, without the characters that XML cannot
/// hold.
pub(super) fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // Unescaped, an XML reader would turn them into blanks in an attribute, and \r\n into one.
            '\t' => out.push_str("&#9;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;
    use postern_shared::read::{JsonLimits, xml_within};

    const HOSTILE: &str =
        "a & b <c> ]]> \"d\" 'e' </x><to>&#65; \u{1b}\u{0}\r\n\té😀\u{ffff} {{ id }} --> ?>";

    fn read(xml: &str) -> serde_json::Value {
        xml_within(xml, JsonLimits { values: 50, name: 50, text: 500 }).unwrap()
    }

    #[test]
    fn no_value_leaves_its_element_or_its_attribute() {
        let scope = context! { text => HOSTILE, identity => "+1", identities => ["1", "<2>"] };
        let kept = HOSTILE.replace(['\u{1b}', '\u{0}', '\u{ffff}'], "");
        for (source, pointer) in [
            ("<a>{{ text }}</a>", "/a"),
            ("<a b=\"{{ text }}\" c='x'/>", "/a/@b"),
            ("<a b='{{ text }}'/>", "/a/@b"),
            ("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a><b>{{ text | trim }}</b></a>\n", "/a/b"),
            ("<a>{% if text %}<b>{{ text | safe }}</b>{% endif %}</a>", "/a/b"),
            ("<a>{% for to in identities %}<b c=\"{{ text }}\">{{ to }}</b>{% endfor %}</a>", "/a/b/1/@c"),
            ("<a>{{ '<b>' ~ text ~ '</b>' }}</a>", "/a"),
        ] {
            let xml = XmlTemplate::parse(source).unwrap().render(&scope).unwrap();
            let found = read(&xml).pointer(pointer).and_then(|value| value.as_str()).map(str::to_owned);
            let wanted = if source.contains("'<b>'") { format!("<b>{kept}</b>") } else { kept.clone() };
            assert_eq!(found, Some(wanted), "{xml}");
        }
    }

    #[test]
    fn a_value_where_it_could_break_out_is_refused() {
        for (source, says) in [
            ("<{{ text }}/>", "name of an element"),
            ("<a {{ text }}=\"x\"/>", "name of an attribute"),
            ("<a b={{ text }}/>", "not well-formed"),
            ("<a><![CDATA[{{ text }}]]></a>", "CDATA"),
            ("<a><!-- {{ text }} --></a>", "comment"),
            ("<a><?x {{ text }}?></a>", "comment or an instruction"),
            ("<!DOCTYPE a><a/>", "document type"),
            ("{{ text }}", "outside"),
            ("<a/>{{ text }}", "outside"),
            ("<a>", "not ended"),
            ("<a></b>", "not well-formed"),
            ("<a/><b/>", "more than one"),
            ("", "no element"),
            ("<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a/>", "UTF-8"),
            ("<a>{{ txt }}</a>", "did you mean text?"),
            ("<a>{{ text }</a>", "not a template"),
        ] {
            let why = XmlTemplate::parse(source).unwrap_err();
            assert!(why.contains(says), "{source}: {why}");
        }
    }

    #[test]
    fn its_texts_are_told_from_its_names() {
        let template = "<send key=\"hush\"><to>x{{ identity }}</to><from>ME</from></send>";
        assert_eq!(XmlTemplate::parse(template).unwrap().texts(), ["hush", "x{{ }}", "ME"]);
    }
}
