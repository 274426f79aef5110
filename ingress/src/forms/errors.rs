//! What is wrong with a request, as the answer 400 says it.

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
}
