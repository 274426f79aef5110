//! What is wrong with a request, as in the answer 400.

use crate::refusal_reason::RefusalReason;
use postern_config::backend::each::{joined, named, unescape};
use std::fmt;

/// What is wrong with a request, in the order of the answer's lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Errors {
    lines: Vec<(Option<String>, String)>,
    /// The numbers of the checks that the request fails, counted from 1.
    checks: Vec<usize>,
    /// The reason in the log and the metrics, unless only checks failed.
    reason: RefusalReason,
}

impl Errors {
    /// One error about the parameter that the request calls `name`: see [`push`](Self::push).
    pub fn of(name: &str, why: impl Into<String>) -> Self {
        let mut errors = Self::default();
        errors.push(name, why);
        errors
    }

    /// One error about the request as a whole.
    pub fn whole(why: impl Into<String>) -> Self {
        Self { lines: vec![(None, why.into())], ..Self::default() }
    }

    /// The same errors, with `reason` in the log and the metrics.
    pub(crate) fn because(self, reason: RefusalReason) -> Self {
        Self { reason, ..self }
    }

    /// Adds an error about the parameter that the request calls `name`. The name is logged: it must be one
    /// that the configuration or the program knows, not one that a request made up.
    pub fn push(&mut self, name: &str, why: impl Into<String>) {
        self.lines.push((Some(name.to_owned()), why.into()));
    }

    /// Adds an error about the request as a whole.
    pub fn push_whole(&mut self, why: impl Into<String>) {
        self.lines.push((None, why.into()));
    }

    /// Adds the error of the backend's check with this `number`, counted from 1.
    pub(crate) fn push_check(&mut self, number: usize, why: impl Into<String>) {
        self.push_whole(why);
        self.checks.push(number);
    }

    /// The same errors, about the item of a batch at `place`.
    pub(crate) fn within(self, place: &str) -> Self {
        let name = |name: Option<String>| match name {
            None => named(place),
            Some(name) if name.starts_with('/') => {
                let tokens = name.split('/').skip(1);
                tokens.fold(place.to_owned(), |place, token| joined(&place, &unescape(token)))
            }
            // The name leads into the whole body, and is quoted as in the configuration, or it is one of the
            // query.
            Some(name) => format!("{}: {name}", named(place)),
        };
        let lines = self.lines.into_iter().map(|(whose, why)| (Some(name(whose)), why)).collect();
        Self { lines, ..self }
    }

    /// Adds all of `others`.
    pub(crate) fn extend(&mut self, others: Self) {
        self.lines.extend(others.lines);
        self.checks.extend(others.checks);
    }

    /// The number of errors.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there are no errors.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// The reason in the log and the metrics.
    pub(crate) fn reason(&self) -> RefusalReason {
        if self.checks.len() == self.lines.len() { RefusalReason::Check } else { self.reason }
    }

    /// The names of the wrong parameters, each once, separated by commas; `None` if there are none.
    pub(crate) fn fields(&self) -> Option<String> {
        list(self.lines.iter().filter_map(|(name, _)| name.as_deref()))
    }

    /// The numbers of the failed checks, separated by commas; `None` if there are none.
    pub(crate) fn checks(&self) -> Option<String> {
        let numbers: Vec<_> = self.checks.iter().map(usize::to_string).collect();
        list(numbers.iter().map(String::as_str))
    }
}

/// The most names that one log line has.
const MAX_NAMES: usize = 20;

/// At most 20 of `names`, each once, separated by commas; `None` if there are none.
pub(crate) fn list<'n>(names: impl Iterator<Item = &'n str>) -> Option<String> {
    let mut listed: Vec<&str> = Vec::new();
    for name in names {
        if listed.len() < MAX_NAMES && !listed.contains(&name) {
            listed.push(name);
        }
    }
    (!listed.is_empty()).then(|| listed.join(", "))
}

/// The body of the answer 400: `form failed to validate`, then one line `field: why` for each error.
impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("form failed to validate")?;
        for (name, why) in &self.lines {
            // One error is one line, even if a request's value contains line breaks.
            let why = why.replace(char::is_control, " ");
            match name {
                Some(name) => write!(f, "\n{}: {why}", name.replace(char::is_control, " "))?,
                None => write!(f, "\n{why}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_whatever_is_in_it() {
        let mut errors = Errors::of("a\nb", "x\r\ny");
        errors.push_whole("z");
        assert_eq!(errors.to_string(), "form failed to validate\na b: x  y\nz");
    }

    #[test]
    fn an_error_of_an_item_names_the_item() {
        for (place, name, wanted) in [
            ("results[1]", Some("/text"), "results[1].text: why"),
            ("results[1]", Some("/parts/0/a~1b"), "results[1].parts[0].a/b: why"),
            ("results[1]", Some("^/id"), "results[1]: ^/id: why"),
            ("results[1]", Some("text"), "results[1]: text: why"),
            ("results[1]", None, "results[1]: why"),
            ("[0]", Some("/text"), "[0].text: why"),
            ("", Some("/text"), "text: why"),
            ("", None, "the body: why"),
        ] {
            let errors = name.map_or(Errors::whole("why"), |name| Errors::of(name, "why"));
            let lines = errors.within(place).to_string();
            assert_eq!(lines.split_once('\n').unwrap().1, wanted, "{place} {name:?}");
        }
    }

    #[test]
    fn the_log_gets_names_and_numbers_and_no_words() {
        let mut errors = Errors::default();
        errors.push_check(2, "the number is not 1");
        errors.push_check(3, "no text");
        let told = |errors: &Errors| (errors.reason().as_str(), errors.fields(), errors.checks());
        assert_eq!(told(&errors), ("check", None, Some("2, 3".to_owned())));
        errors.push("text", "is wrong");
        errors.push("text", "is wrong too");
        assert_eq!(told(&errors), ("form", Some("text".to_owned()), Some("2, 3".to_owned())));
        let json = Errors::whole("no JSON").because(RefusalReason::Json);
        assert_eq!(told(&json), ("json", None, None));
    }
}
