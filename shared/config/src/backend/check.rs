//! Custom validation in the Common Expression Language.

use super::expression::{Expression, cel_members};
use cel::Context;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value as Json};
use std::fmt;

/// The names that a check may use.
const NAMES: [&str; 3] = ["identity", "text", "fields"];

/// One check: `expr` must be true, else the request is refused with `error`.
///
/// `expr` is CEL over `identity`, `text` and `fields`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    #[serde(deserialize_with = "compile")]
    expr: Expression,
    /// The text for the sender of the request.
    pub error: String,
}

fn compile<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Expression, D::Error> {
    let compiled = Expression::compile(&String::deserialize(deserializer)?, &NAMES);
    let expression = compiled.map_err(de::Error::custom)?;
    if expression.is_no_condition(&context("+15550100", "text", &Map::new())) {
        return Err(de::Error::custom(
            "must be a condition, such as text == \"ping\": this expression refuses every message",
        ));
    }
    Ok(expression)
}

/// The names and values of a message for an expression.
fn context(identity: &str, text: &str, fields: &Map<String, Json>) -> Context<'static, 'static> {
    let mut context = Context::default();
    context.add_variable_from_value("identity", identity.to_owned());
    context.add_variable_from_value("text", text.to_owned());
    context.add_variable_from_value("fields", cel_members(fields));
    context
}

impl Check {
    /// The keys of `fields` that the check uses.
    pub fn fields(&self) -> Vec<String> {
        self.expr.keys_of("fields")
    }

    /// Whether the message passes. An expression that fails (a field that is not there) or is not
    /// a boolean refuses the message.
    pub fn passes(&self, identity: &str, text: &str, fields: &Map<String, Json>) -> bool {
        self.expr.holds(&context(identity, text, fields)) == Ok(true)
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
            ("[\"1\", \"12\"].exists(start, identity.startsWith(start))", true),
        ] {
            assert_eq!(check(expr).unwrap().passes("123", "ping", fields), passes, "{expr}");
        }
    }

    #[test]
    fn a_wrong_expression_is_refused_with_its_reason() {
        let why = check("identity ==").unwrap_err().to_string();
        assert!(why.contains("not a CEL expression"), "{why}");
        for (expr, says) in [
            ("sender == \"1\"", "unknown name sender"),
            ("txt == \"1\"", "did you mean text?"),
            ("text.startWith(\"1\")", "did you mean startsWith?"),
            ("length(text) < 3", "unknown function length"),
            ("size(text)", "must be a condition"),
            ("text", "must be a condition"),
        ] {
            let why = check(expr).unwrap_err().to_string();
            assert!(why.contains(says), "{expr}: {why}");
        }
    }
}
