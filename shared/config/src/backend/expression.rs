//! Expressions of the Common Expression Language (CEL), compiled when the configuration is read.

mod names;

use cel::{Context, ExecutionError, Program, Value, objects::Key};
use names::Names;
use postern_shared::suggest;
use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value as Json};
use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc};

/// CEL's operators that lead to a part of a value: `a.b` and `a[b]`.
const PART_OF: [&str; 2] = ["_._", "_[_]"];

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

/// A CEL expression whose value is true or false.
///
/// Its only loops are over the values that it is given, so their size bounds its cost.
#[derive(Clone)]
pub(super) struct Expression(Arc<Program>);

/// An expression that could not be evaluated. It names the kind of mistake, and no value of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotEvaluated(&'static str);

impl Expression {
    /// Compiles `text`, which may name the variables `known` and no other.
    ///
    /// # Errors
    /// A text for the user: a syntax error, or an unknown name or function.
    pub(super) fn compile(text: &str, known: &[&str]) -> Result<Self, String> {
        let program = Program::compile(text)
            .map_err(|error| format!("not a CEL expression: {}", error.to_string().replace('\n', " ")))?;
        let names = Names::of(&program);
        let variables = names.variables.iter().map(String::as_str);
        let unknown: Vec<_> = variables.filter(|name| !known.contains(name)).collect();
        if let Some(first) = unknown.first() {
            let hint = suggest::hint(first, known.iter().copied());
            let (unknown, known) = (unknown.join(", "), known.join(", "));
            return Err(format!("unknown name {unknown}; an expression can use {known}{hint}"));
        }
        if let Some(function) = names.unknown_functions.first() {
            let hint = suggest::hint(function, FUNCTIONS);
            return Err(format!("unknown function {function}; known: {}{hint}", FUNCTIONS.join(", ")));
        }
        Ok(Self(Arc::new(program)))
    }

    fn names(&self) -> Names {
        Names::of(&self.0)
    }

    /// The keys of the variable `of` that the expression uses.
    pub(super) fn keys_of(&self, of: &str) -> Vec<String> {
        self.names().keys_of(of)
    }

    /// Whether the expression has a value that is neither true nor false.
    pub(super) fn is_no_condition(&self, context: &Context<'_, '_>) -> bool {
        matches!(self.0.execute(context), Ok(value) if !matches!(value, Value::Bool(_)))
    }

    /// Whether the expression is true. If it uses something that is absent, such as a member of a text, it is
    /// false.
    ///
    /// # Errors
    /// [`NotEvaluated`], including when its value is neither true nor false.
    pub(super) fn holds(&self, context: &Context<'_, '_>) -> Result<bool, NotEvaluated> {
        match self.0.execute(context) {
            Ok(Value::Bool(yes)) => Ok(yes),
            Ok(_) => Err(NotEvaluated("its value is neither true nor false")),
            Err(ExecutionError::NoSuchKey(_) | ExecutionError::IndexOutOfBounds(_)) => Ok(false),
            Err(ExecutionError::NoSuchOverload(overload)) if PART_OF.contains(&overload.function()) => {
                Ok(false)
            }
            Err(ExecutionError::NoSuchOverload(_) | ExecutionError::UnexpectedType { .. }) => {
                Err(NotEvaluated("a value has another type than the expression expects"))
            }
            Err(ExecutionError::FunctionError { .. }) => Err(NotEvaluated("a function failed")),
            Err(_) => Err(NotEvaluated("it failed")),
        }
    }
}

/// A compiled expression has nothing to show.
impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expression").finish_non_exhaustive()
    }
}

/// A JSON value as CEL's.
fn cel_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Null,
        Json::Bool(yes) => Value::Bool(*yes),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::UInt(number),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => items.iter().map(cel_value).collect::<Vec<_>>().into(),
        Json::Object(members) => cel_members(members),
    }
}

/// The members of a JSON object as CEL's map.
pub(super) fn cel_members(members: &Map<String, Json>) -> Value {
    let members = members.iter().map(|(name, value)| (Key::from(name.as_str()), cel_value(value)));
    members.collect::<HashMap<_, _>>().into()
}

/// The names that a `when` and the template of a challenge may use.
pub(super) const REQUEST: [&str; 4] = ["body", "query", "headers", "settings"];

/// `receive.when`, `status.when`, `receive.challenge.when`: an expression over a whole request.
///
/// | name | what it is |
/// | --- | --- |
/// | `body` | the JSON body; of a form, its parameters by name; empty if there is none |
/// | `query` | the parameters of the query by name; of several with one name, the last |
/// | `headers` | the headers by their name in lower case |
/// | `settings` | the backend's own settings |
/// | `item` | with `each`, one item of its lists: an item is a message or a report if the expression is true of
/// it |
#[derive(Debug, Clone)]
pub struct When {
    expression: Expression,
    /// Whether the expression uses `item`.
    chooses_items: bool,
}

impl When {
    /// Whether the expression is evaluated for each item of a list, and not for the request as a whole.
    pub fn chooses_items(&self) -> bool {
        self.chooses_items
    }

    /// Whether the expression is true of `item` of `request`.
    ///
    /// # Errors
    /// [`NotEvaluated`]
    pub fn holds_of(&self, item: &Json, request: &WhenScope) -> Result<bool, NotEvaluated> {
        let mut scope = request.0.new_inner_scope();
        scope.add_variable_from_value("item", cel_value(item));
        self.expression.holds(&scope)
    }

    /// Whether the expression is true of `request`. It is false if the request lacks something that it uses.
    ///
    /// # Errors
    /// [`NotEvaluated`]
    pub fn holds(&self, request: &WhenScope) -> Result<bool, NotEvaluated> {
        self.expression.holds(&request.0)
    }

    /// The names of the settings that must be there.
    pub(crate) fn settings(&self) -> Vec<String> {
        self.expression.names().keys_needed_of("settings")
    }

    /// The names of all settings that the expression uses, also of those that it tests with `has`.
    pub(crate) fn all_settings(&self) -> Vec<String> {
        self.expression.keys_of("settings")
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let known = [&REQUEST[..], &["item"]].concat();
        let expression = Expression::compile(&text, &known).map_err(de::Error::custom)?;
        let (body, query, headers) = (Cow::Owned(Json::Object(Map::new())), Map::new(), Map::new());
        let empty = WhenScope::from(&RequestValues { body, query, headers, settings: &Map::new() });
        if expression.is_no_condition(&empty.0) {
            return Err(de::Error::custom("must be a condition, such as has(body.message)"));
        }
        let chooses_items = expression.names().variables.contains("item");
        Ok(Self { expression, chooses_items })
    }
}

/// The values of a request, by the names that expressions and the template of a challenge use.
pub struct RequestValues<'r> {
    /// The JSON body, or the parameters of a form.
    pub body: Cow<'r, Json>,
    /// The parameters of the query.
    pub query: Map<String, Json>,
    /// The headers; their names are in lower case.
    pub headers: Map<String, Json>,
    /// The backend's settings, secrets included.
    pub settings: &'r Map<String, Json>,
}

/// Hides what the request says.
impl fmt::Debug for RequestValues<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestValues").finish_non_exhaustive()
    }
}

/// The values of a request for a [`When`].
pub struct WhenScope(Context<'static, 'static>);

impl From<&RequestValues<'_>> for WhenScope {
    fn from(request: &RequestValues<'_>) -> Self {
        let mut context = Context::default();
        context.add_variable_from_value("body", cel_value(&request.body));
        context.add_variable_from_value("query", cel_members(&request.query));
        context.add_variable_from_value("headers", cel_members(&request.headers));
        context.add_variable_from_value("settings", cel_members(request.settings));
        Self(context)
    }
}

/// Hides what the request says.
impl fmt::Debug for WhenScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestScope").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn when(text: &str) -> Result<When, serde_json::Error> {
        serde_json::from_value(text.into())
    }

    fn request(body: &Json, query: &Json, headers: &Json) -> WhenScope {
        let members = |json: &Json| json.as_object().cloned().unwrap();
        let (query, headers) = (members(query), members(headers));
        let settings = members(&json!({"token": "last", "number": 7}));
        WhenScope::from(&RequestValues { body: Cow::Borrowed(body), query, headers, settings: &settings })
    }

    #[test]
    fn a_when_sees_the_body_the_query_and_the_headers() {
        let body = json!({
            "type": "message.received", "count": 2, "huge": u64::MAX, "rate": 1.5, "no": null,
            "entry": [{"changes": [{"value": {"messages": [{"from": "1"}]}}]}, {}],
        });
        let request = request(&body, &json!({"token": "last"}), &json!({"x-event": "message"}));
        let failed = |why| Err(NotEvaluated(why));
        for (text, wanted) in [
            (r#"body.type == "message.received""#, Ok(true)),
            (r#"body.type.startsWith("status")"#, Ok(false)),
            (r#"body.count == 2 && body.rate < 2.0 && body.huge > 1 && body.no == null"#, Ok(true)),
            (r#"query.token == "last""#, Ok(true)),
            ("query.token == settings.token && settings.number == 7", Ok(true)),
            ("query.token == settings.absent", Ok(false)),
            (r#"headers["x-event"] == "message""#, Ok(true)),
            (r#"headers["x-other"] == "message""#, Ok(false)),
            ("has(body.type) && !has(body.other)", Ok(true)),
            (r#""type" in body"#, Ok(true)),
            ("body.entry.exists(e, has(e.changes) && e.changes.exists(c, has(c.value.messages)))", Ok(true)),
            ("body.entry[0].changes[0].value.messages.size() == 1", Ok(true)),
            ("body.entry[7].changes == []", Ok(false)),
            (r#"body.absent == "x""#, Ok(false)),
            (r#"body.absent == "x" || body.count == 2"#, Ok(true)),
            (r#"body.count == 2 || body.absent == "x""#, Ok(true)),
            (r#"body.absent.more == "x""#, Ok(false)),
            (r#"body.type.more == "x""#, Ok(false)),
            ("has(body.type.more) || body.no.more == 1", Ok(false)),
            ("body.type", failed("its value is neither true nor false")),
            ("body.type.startsWith(7)", failed("a value has another type than the expression expects")),
            ("body.type > 3", failed("a value has another type than the expression expects")),
        ] {
            assert_eq!(when(text).unwrap().holds(&request), wanted, "{text}");
        }
    }

    #[test]
    fn a_when_may_choose_between_items() {
        let whole = request(&json!({"object": "page"}), &json!({}), &json!({}));
        for (text, item, wanted) in [
            ("has(item.message) && body.object == \"page\"", json!({"message": {}}), true),
            ("has(item.message)", json!({"delivery": {}}), false),
            ("item.type == \"message\"", json!("a text"), false),
            ("item == 7", json!(7), true),
        ] {
            let when = when(text).unwrap();
            assert!(when.chooses_items(), "{text}");
            assert_eq!(when.holds_of(&item, &whole).unwrap_or(false), wanted, "{text}");
        }
        assert!(!when("body.items.exists(item, item == 1)").unwrap().chooses_items());
    }

    #[test]
    fn a_body_need_not_be_an_object() {
        for (body, text, wanted) in [
            (json!([{"a": 1}]), "body[0].a == 1", Ok(true)),
            (json!([]), "size(body) == 0", Ok(true)),
            (json!({}), "has(body.a)", Ok(false)),
            (json!([]), "body.a == 1", Ok(false)),
        ] {
            let request = request(&body, &json!({}), &json!({}));
            assert_eq!(when(text).unwrap().holds(&request), wanted, "{text}");
        }
    }

    #[test]
    fn a_wrong_when_says_why() {
        for (text, says) in [
            ("body.type ==", "not a CEL expression"),
            ("", "not a CEL expression"),
            ("event == 1", "unknown name event; an expression can use body, query, headers, settings, item"),
            ("headrs.a == \"x\"", "did you mean headers?"),
            ("body.a.startWith(\"x\")", "did you mean startsWith?"),
            ("text == \"x\"", "unknown name text"),
            ("query", "must be a condition"),
            ("size(body)", "must be a condition"),
            ("body.all(x, x == y) && x", "unknown name x, y;"),
            ("[a, {b: c}].exists(i, i == body)", "unknown name a, b, c;"),
        ] {
            let why = when(text).unwrap_err().to_string();
            assert!(why.contains(says), "{text}: {why}");
        }
    }
}
