//! What is wrong with a request, as the answer 400 says it.

use postern_config::backend::each::{joined, named, unescape};
use std::fmt;

/// What is wrong with a request, in the order of the answer's lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Errors(Vec<(Option<String>, String)>);

impl Errors {
    /// One error, of the parameter that the request calls `name`.
    pub fn of(name: &str, why: impl Into<String>) -> Self {
        let mut errors = Self::default();
        errors.push(name, why);
        errors
    }

    /// One error, of the request as a whole.
    pub fn whole(why: impl Into<String>) -> Self {
        Self(vec![(None, why.into())])
    }

    /// Adds an error of the parameter that the request calls `name`.
    pub fn push(&mut self, name: &str, why: impl Into<String>) {
        self.0.push((Some(name.to_owned()), why.into()));
    }

    /// Adds an error of the request as a whole.
    pub fn push_whole(&mut self, why: impl Into<String>) {
        self.0.push((None, why.into()));
    }

    /// The same errors, of the item of a batch at `place`.
    pub(crate) fn within(self, place: &str) -> Self {
        let name = |name: Option<String>| match name {
            None => named(place),
            Some(name) if name.starts_with('/') => {
                let tokens = name.split('/').skip(1);
                tokens.fold(place.to_owned(), |place, token| joined(&place, &unescape(token)))
            }
            // It is the whole body's, which is said as the configuration says it, or the query's.
            Some(name) => format!("{}: {name}", named(place)),
        };
        Self(self.0.into_iter().map(|(whose, why)| (Some(name(whose)), why)).collect())
    }

    /// Adds all of `others`.
    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The body of the answer 400: `form failed to validate`, then a line `field: why` each.
impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("form failed to validate")?;
        for (name, why) in &self.0 {
            // One error is one line, whatever a request's value brought into it.
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
}
