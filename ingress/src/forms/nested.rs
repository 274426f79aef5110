//! Texts within a body that are bodies of their own: `receive.nested`.

use super::{
    errors::Errors,
    json::read_json,
    parameter::ParameterLimits,
    request::{Found, Request},
    urlencoded,
    xml::read_xml_text,
};
use crate::refusal_reason::RefusalReason;
use postern_config::backend::{http::BodyFormat, nested::Nested};
use serde_json::{Map, Value};
use std::borrow::Cow;

impl Request<'_> {
    /// Parses the texts of the body that `nested` names, in their place. A form becomes a JSON object of its
    /// parameters; of several with one name, the last counts. A text that is not in the expected format stays
    /// a text.
    ///
    /// # Errors
    /// The texts exceed `limits`, where the parameters of all of them are counted together.
    pub(crate) fn open(&mut self, nested: &Nested, limits: &ParameterLimits) -> Result<(), Errors> {
        if nested.is_empty() {
            return Ok(());
        }
        let mut body = match self.json.take() {
            Some(json) => json.into_owned(),
            None => Value::Object(self.texts()),
        };
        let mut left = *limits;
        let opened = nested.open(&mut body, |text, format| {
            let read = match read(text, format, &left) {
                Ok(read) => read,
                Err(errors) if errors.reason() == RefusalReason::Size => return Err(errors),
                Err(_) => return Ok(None),
            };
            left.max_fields = left.max_fields.saturating_sub(values_in(&read));
            // A text that happens to be a JSON number stays a text.
            Ok(Some(read).filter(|read| read.is_object() || read.is_array()))
        });
        self.json = Some(Cow::Owned(body));
        opened
    }

    /// The parameters by name; of several with one name, the last.
    pub(crate) fn texts(&self) -> Map<String, Value> {
        let texts = self.parameters.iter().filter_map(|parameter| match self.find(&parameter.name) {
            Found::Text(text) => Some((parameter.name.clone().into_owned(), text.into_owned().into())),
            Found::Absent | Found::NoText => None,
        });
        texts.collect()
    }
}

fn read(text: &str, format: BodyFormat, limits: &ParameterLimits) -> Result<Value, Errors> {
    match format {
        BodyFormat::Json => read_json(text.as_bytes(), None, limits),
        BodyFormat::Xml => read_xml_text(text, limits),
        BodyFormat::Form => {
            let parameters = urlencoded::parse(text.as_bytes(), limits)?;
            let members = parameters.iter().map(|parameter| {
                let value = String::from_utf8_lossy(&parameter.raw).into_owned();
                (parameter.name.clone().into_owned(), value.into())
            });
            Ok(Value::Object(members.collect()))
        }
        BodyFormat::Text => Ok(text.into()),
    }
}

/// How many members and items `value` has, at any depth.
fn values_in(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.len() + items.iter().map(values_in).sum::<usize>(),
        Value::Object(members) => members.len() + members.values().map(values_in).sum::<usize>(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forms::RawRequest;
    use actix_web::http::{Method, header::HeaderMap};
    use bytes::Bytes;
    use serde_json::json;

    const LIMITS: ParameterLimits = ParameterLimits { max_fields: 6, max_key: 20, max_value: 100 };

    /// The value of `name` in `body` after the texts that `nested` names were parsed.
    fn find(format: BodyFormat, nested: &Value, body: &str, name: &str) -> String {
        let nested: Nested = serde_json::from_value(nested.clone()).unwrap();
        let (headers, method, body) = (HeaderMap::new(), Method::POST, Bytes::from(body.to_owned()));
        let raw = RawRequest { method: &method, headers: &headers, query: "", body: &body };
        let request = Request::parse(raw, Some(format), None, &LIMITS);
        let mut request = request.unwrap();
        if let Err(errors) = request.open(&nested, &LIMITS) {
            return errors.to_string();
        }
        match request.find(name) {
            Found::Text(text) => text.into_owned(),
            Found::NoText => "NO TEXT".to_owned(),
            Found::Absent => "ABSENT".to_owned(),
        }
    }

    #[test]
    fn texts_are_read_in_their_place() {
        use BodyFormat::{Form, Json, Xml};
        let payload = json!({"payload": "json"});
        let message = json!({"/Message": "json"});
        for (format, nested, body, name, wanted) in [
            (Form, &payload, "payload=%7B%22from%22%3A%22%2B1%22%7D&to=7", "/payload/from", "+1"),
            (Form, &payload, "payload=%7B%22from%22%3A%22%2B1%22%7D&to=7", "to", "7"),
            (Form, &payload, "payload=none&to=7", "payload", "none"),
            (Form, &payload, "payload=12", "payload", "12"),
            (Form, &json!({}), "payload=%7B%7D", "payload", "{}"),
            (
                Json,
                &message,
                r#"{"Message": "{\"body\": \"hi \\ud83d\\ude4f\", \"n\": 12345678901234567890123}"}"#,
                "/Message/body",
                "hi 🙏",
            ),
            (
                Json,
                &message,
                r#"{"Message": "{\"n\": 12345678901234567890123}"}"#,
                "/Message/n",
                "12345678901234567890123",
            ),
            (
                Json,
                &message,
                r#"{"Message": "You have chosen to subscribe"}"#,
                "/Message",
                "You have chosen to subscribe",
            ),
            (
                Json,
                &message,
                r#"{"Message": "{\"a\": [1, 2, 3, 4, 5, 6]}"}"#,
                "/Message/a/0",
                "at most 6 parameters",
            ),
            (Json, &json!({"/*": "json"}), r#"["[1,2,3]", "[4,5,6]"]"#, "/1/2", "6"),
            (Json, &json!({"/*": "json"}), r#"["[1,2,3]", "[4,5,6,7]"]"#, "/1/2", "at most 3 parameters"),
            (Json, &json!({"/x": "xml"}), r#"{"x": "<sms><to>1</to></sms>"}"#, "/x/sms/to", "1"),
            (Json, &json!({"/x": "form"}), r#"{"x": "to=%2B1&text=a+b"}"#, "/x/text", "a b"),
            (Xml, &json!({"/a/data": "json"}), "<a><data>{\"to\": \"1\"}</data></a>", "/a/data/to", "1"),
        ] {
            let found = find(format, nested, body, name);
            assert!(
                found == wanted || found.contains(wanted) && found.contains("form failed"),
                "{body} {name}: {found}"
            );
        }
    }
}
