//! Custom validation in the Common Expression Language.

use super::expression::Names;
use cel::{Context, Program, Value};
use postern_shared::suggest;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value as Json};
use std::{fmt, sync::Arc};

/// One check: `expr` must be true, else the request is refused with `error`.
///
/// `expr` is CEL over `identity`, `text` and `fields`.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    expr: Expression,
    /// The text for whoever sent the request.
    pub error: String,
}

/// What an expression sees.
const KNOWN: [&str; 3] = ["identity", "text", "fields"];
/// The functions and methods that people use, as errors list them.
const FUNCTIONS: [&str; 12] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "has",
    "all",
    "exists",
    "int",
    "double",
    "string",
    "timestamp",
];

#[derive(Clone)]
struct Expression(Arc<Program>);

impl<'de> Deserialize<'de> for Expression {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let program = Program::compile(&text).map_err(|error| {
            let why = error.to_string().replace('\n', " ");
            de::Error::custom(format!("not a CEL expression: {why}"))
        })?;
        let names = Names::of(&program);
        let unknown: Vec<_> = names.variables.iter().filter(|name| !KNOWN.contains(&name.as_str())).collect();
        if let Some(first) = unknown.first() {
            let hint = suggest::hint(first, KNOWN);
            let unknown = unknown.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            let why = format!("unknown name {unknown}; an expression sees identity, text and fields{hint}");
            return Err(de::Error::custom(why));
        }
        if let Some(function) = names.unknown_functions.first() {
            let hint = suggest::hint(function, FUNCTIONS);
            let why = format!("unknown function {function}; there are {}{hint}", FUNCTIONS.join(", "));
            return Err(de::Error::custom(why));
        }
        if matches!(program.execute(&sample()), Ok(value) if !matches!(value, Value::Bool(_))) {
            return Err(de::Error::custom(
                "must be true or false, as text == \"ping\" is: it refuses every message",
            ));
        }
        Ok(Self(Arc::new(program)))
    }
}

/// A message as an expression sees it.
fn sample() -> Context<'static, 'static> {
    let mut context = Context::default();
    context.add_variable_from_value("identity", "+15550100");
    context.add_variable_from_value("text", "text");
    context.add_variable_from_value(
        "fields",
        Value::Map(std::collections::HashMap::<String, Value>::new().into()),
    );
    context
}

impl Check {
    /// The keys of `fields` that it looks at.
    pub fn fields(&self) -> Vec<String> {
        Names::of(&self.expr.0).keys_of("fields")
    }

    /// Whether the message passes. An expression that fails (a field that is not there) or is not
    /// a boolean refuses the message.
    pub fn passes(&self, identity: &str, text: &str, fields: &Map<String, Json>) -> bool {
        let mut context = Context::default();
        context.add_variable_from_value("identity", identity.to_owned());
        context.add_variable_from_value("text", text.to_owned());
        if context.add_variable("fields", fields).is_err() {
            return false;
        }
        matches!(self.expr.0.execute(&context), Ok(Value::Bool(true)))
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
            ("size(text)", "must be true or false"),
            ("text", "must be true or false"),
        ] {
            let why = check(expr).unwrap_err().to_string();
            assert!(why.contains(says), "{expr}: {why}");
        }
    }
}
