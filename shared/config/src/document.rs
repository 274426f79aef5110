//! A TOML text as a tree of values, and the line of every key in it.

use super::{
    lines::{LineStarts, Lines, join},
    problem::Problem,
    syntax,
};
use serde_json::{Map, Value};
use toml::de::{DeTable, DeValue};

/// A configuration as it was written, before its meaning is known.
#[derive(Debug, Default, Clone)]
pub(super) struct Document {
    pub(super) tree: Map<String, Value>,
    pub(super) lines: Lines,
}

impl Document {
    /// Reads `text`. The only possible problems are syntax errors.
    pub(super) fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let (mut document, starts) = (Self::default(), LineStarts::of(text));
        document.tree = read_table(table.get_ref(), "", &mut |key, offset| {
            document.lines.insert(key, starts.line_at(offset));
        });
        if errors.is_empty() {
            Ok(document)
        } else {
            Err(syntax::problems(text, &errors, &starts, &document.lines))
        }
    }
}

fn read_table(table: &DeTable<'_>, path: &str, at: &mut impl FnMut(String, usize)) -> Map<String, Value> {
    let mut tree = Map::new();
    for (key, value) in table {
        let path = join(path, key.get_ref());
        at(path.clone(), key.span().start);
        tree.insert(key.get_ref().to_string(), read_value(value.get_ref(), &path, at));
    }
    tree
}

fn read_value(value: &DeValue<'_>, path: &str, at: &mut impl FnMut(String, usize)) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        // A number that is too large is a text: a key that needs a number says so.
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Value::from(number.as_str()), Value::from),
        DeValue::Float(number) => match number.as_str().parse::<f64>() {
            Ok(finite) if finite.is_finite() => Value::from(finite),
            _ => Value::from(number.as_str()),
        },
        DeValue::Boolean(yes) => Value::Bool(*yes),
        DeValue::Datetime(when) => Value::String(when.to_string()),
        DeValue::Array(items) => items
            .iter()
            .enumerate()
            .map(|(index, item)| {
                let path = format!("{path}[{index}]");
                at(path.clone(), item.span().start);
                read_value(item.get_ref(), &path, at)
            })
            .collect(),
        DeValue::Table(table) => Value::Object(read_table(table, path, at)),
    }
}

/// Lays `upper` over `lower`: tables are merged, everything else is replaced.
pub(super) fn overlay(lower: &mut Map<String, Value>, upper: Map<String, Value>) {
    for (key, value) in upper {
        match (lower.get_mut(&key), value) {
            (Some(Value::Object(below)), Value::Object(above)) => overlay(below, above),
            (_, value) => {
                lower.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_knows_its_line() {
        let document = Document::parse(
            "[broker]\nurl = \"x\"\n\n[[api.keys]]\nname = \"a\"\n\n[[api.keys]]\nname = 7\n",
        )
        .unwrap();
        assert_eq!(document.lines.of("broker.url"), Some(2));
        assert_eq!(document.lines.of("broker.absent"), Some(1));
        assert_eq!(document.lines.of("api.keys[1].name"), Some(8));
        assert_eq!(document.lines.of("nowhere"), None);
        assert_eq!(document.tree["api"]["keys"][1]["name"], 7);
    }

    #[test]
    fn tables_merge_and_arrays_replace() {
        let mut lower = Document::parse("a = { x = 1, y = [1, 2] }").unwrap().tree;
        overlay(&mut lower, Document::parse("a = { y = [3] }\nb = 1").unwrap().tree);
        assert_eq!(Value::Object(lower), serde_json::json!({"a": {"x": 1, "y": [3]}, "b": 1}));
    }
}
