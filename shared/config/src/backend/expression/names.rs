//! The names in an expression: the variables that it uses, and the functions that it calls.

use cel::{
    Context, ExecutionError, Program,
    common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, operators},
};
use std::collections::BTreeSet;

/// The names in an expression.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// The variables that the expression does not bind itself, as `all(x, …)` binds `x`.
    pub(super) variables: BTreeSet<String>,
    /// The functions and methods that do not exist.
    pub(super) unknown_functions: BTreeSet<String>,
    /// The keys that are used, each with its variable: `fields` and `age` for `fields.age`, `fields["age"]`,
    /// `has(fields.age)` and `"age" in fields`.
    pub(super) keys: BTreeSet<(String, String)>,
    /// The keys whose presence the expression tests, as in `has(fields.age)`.
    pub(super) asked_for: BTreeSet<(String, String)>,
}

impl Names {
    /// The names in `program`.
    pub(super) fn of(program: &Program) -> Self {
        let mut names = Self::default();
        names.walk(program.expression(), &mut Vec::new());
        names
    }

    /// The keys of the variable `of` that are used.
    pub(super) fn keys_of(&self, of: &str) -> Vec<String> {
        self.keys.iter().filter(|(name, _)| name == of).map(|(_, key)| key.clone()).collect()
    }

    /// The keys of the variable `of` that are used without a test of their presence.
    pub(super) fn keys_needed_of(&self, of: &str) -> Vec<String> {
        let needed = self.keys.difference(&self.asked_for).filter(|(name, _)| name == of);
        needed.map(|(_, key)| key.clone()).collect()
    }

    fn walk(&mut self, expression: &IdedExpr, bound: &mut Vec<String>) {
        match &expression.expr {
            Expr::Ident(name) if bound.contains(name) => {}
            Expr::Ident(name) => drop(self.variables.insert(name.clone())),
            Expr::Select(select) => {
                self.key(&select.operand, Some(&select.field), bound);
                if let (true, Expr::Ident(name)) = (select.test, &select.operand.expr) {
                    self.asked_for.insert((name.clone(), select.field.clone()));
                }
                self.walk(&select.operand, bound);
            }
            Expr::Call(call) => {
                match (call.func_name.as_str(), &call.args[..]) {
                    (operators::INDEX, [of, key]) => self.key(of, literal(key), bound),
                    (operators::IN, [key, of]) => self.key(of, literal(key), bound),
                    _ => {}
                }
                if !is_known(&call.func_name) {
                    self.unknown_functions.insert(call.func_name.clone());
                }
                call.target
                    .iter()
                    .map(|target| &**target)
                    .chain(&call.args)
                    .for_each(|it| self.walk(it, bound));
            }
            Expr::Comprehension(each) => {
                self.walk(&each.iter_range, bound);
                let outside = bound.len();
                bound.extend([each.iter_var.clone(), each.accu_var.clone()]);
                bound.extend(each.iter_var2.clone());
                for part in [&each.accu_init, &each.loop_cond, &each.loop_step, &each.result] {
                    self.walk(part, bound);
                }
                bound.truncate(outside);
            }
            Expr::List(list) => list.elements.iter().for_each(|item| self.walk(item, bound)),
            Expr::Map(map) => map.entries.iter().for_each(|entry| self.entry(&entry.expr, bound)),
            Expr::Struct(table) => table.entries.iter().for_each(|entry| self.entry(&entry.expr, bound)),
            Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    fn entry(&mut self, entry: &EntryExpr, bound: &mut Vec<String>) {
        match entry {
            EntryExpr::StructField(field) => self.walk(&field.value, bound),
            EntryExpr::MapEntry(entry) => {
                self.walk(&entry.key, bound);
                self.walk(&entry.value, bound);
            }
        }
    }

    fn key(&mut self, of: &IdedExpr, key: Option<&str>, bound: &[String]) {
        if let (Expr::Ident(name), Some(key)) = (&of.expr, key)
            && !bound.contains(name)
        {
            self.keys.insert((name.clone(), key.to_owned()));
        }
    }
}

fn literal(expression: &IdedExpr) -> Option<&str> {
    match &expression.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// Whether there is a function or a method `name`. The library has no list of them, but calls an unknown one
/// undeclared.
fn is_known(name: &str) -> bool {
    let is_word = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && !name.starts_with('_');
    let undeclared = |source: String| {
        let ran = Program::compile(&source).map(|program| program.execute(&Context::default()));
        matches!(ran, Ok(Err(ExecutionError::UndeclaredReference(_))))
    };
    !is_word || !undeclared(format!("{name}('')")) || !undeclared(format!("''.{name}()"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(source: &str) -> Names {
        Names::of(&Program::compile(source).unwrap())
    }

    #[test]
    fn what_an_expression_looks_at_is_listed() {
        for (source, variables, keys) in [
            ("fields.age > 3 && text == ''", vec!["fields", "text"], vec!["age"]),
            ("fields['a b'] == identity", vec!["fields", "identity"], vec!["a b"]),
            ("has(fields.age) ? true : 'x' in fields", vec!["fields"], vec!["age", "x"]),
            ("['1', '2'].exists(p, identity.startsWith(p))", vec!["identity"], vec![]),
            ("{'k': fields.v}.k == other", vec!["fields", "other"], vec!["v"]),
            ("fields.a.b.c == 1", vec!["fields"], vec!["a"]),
        ] {
            let names = names(source);
            assert_eq!(names.variables.iter().collect::<Vec<_>>(), variables, "{source}");
            assert_eq!(names.keys_of("fields"), keys, "{source}");
            assert!(names.unknown_functions.is_empty(), "{source}: {names:?}");
        }
    }

    #[test]
    fn functions_that_there_are_not_are_told_from_those_that_there_are() {
        let known = "size(text) + text.size() > 1 && text.contains('a') && text.matches('b') && text.endsWith('c') \
                     && int('1') == 1 && double('1') > 0.0 && string(1) == '1' && type(text) == type('')";
        assert!(names(known).unknown_functions.is_empty(), "{:?}", names(known));
        for unknown in ["text.startWith('a')", "length(text) > 1", "text.lower() == 'a'"] {
            assert_eq!(names(unknown).unknown_functions.len(), 1, "{unknown}");
        }
    }
}
