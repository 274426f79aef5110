//! Custom validation in the Common Expression Language.

use super::expression::{Expression, cel_members};
use cel::Context;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value as Json};
use std::fmt;

/// What a check may name.
const NAMES: [&str; 3] = ["identity", "text", "fields"];

/// One check: `expr` must be true, else the request is refused with `error`.
///
/// `expr` is CEL over `identity`, `text` and `fields`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    #[serde(deserialize_with = "compile")]
    expr: Expression,
    /// The text for whoever sent the request.
    pub error: String,
}

fn compile<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Expression, D::Error> {
    Expression::compile(&String::deserialize(deserializer)?, &NAMES).map_err(de::Error::custom)
}

impl Check {
    /// Whether the message passes. An expression that fails (a field that is not there) or is not
    /// a boolean refuses the message.
    pub fn passes(&self, identity: &str, text: &str, fields: &Map<String, Json>) -> bool {
        let mut context = Context::default();
        context.add_variable_from_value("identity", identity.to_owned());
        context.add_variable_from_value("text", text.to_owned());
        context.add_variable_from_value("fields", cel_members(fields));
        self.expr.holds(&context) == Ok(true)
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Check").field("error", &self.error).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(expr: &str) -> Result<Check, serde_json::Error> {
        serde_json::from_value(json!({"expr": expr, "error": "no"}))
    }

    #[test]
    fn an_expression_sees_identity_text_and_fields() {
        let fields = json!({"age": 17, "name": "Ann"});
        let fields = fields.as_object().unwrap();
        for (expr, passes) in [
            (r#"identity == "123""#, true),
            (r#"identity == "124""#, false),
            (r#"text.startsWith("pi") && size(text) < 10"#, true),
            ("fields.age >= 18", false),
            ("fields.age == 17", true),
            (r#"fields.name.matches("^A")"#, true),
            ("fields.absent == 1", false),
            ("!has(fields.absent)", true),
            ("text", false),
        ] {
            assert_eq!(check(expr).unwrap().passes("123", "ping", fields), passes, "{expr}");
        }
    }

    #[test]
    fn a_wrong_expression_is_refused_with_its_reason() {
        let why = check("identity ==").unwrap_err().to_string();
        assert!(why.contains("not a CEL expression"), "{why}");
        let why = check("sender == \"1\"").unwrap_err().to_string();
        assert!(why.contains("unknown name sender"), "{why}");
    }
}
