//! Forms: from a provider's request to one clean message, or to what is wrong with it.
//!
//! `receive.form` names the form of a backend. [`HttpForm`], the default, cleans the parameters
//! that the configuration declares; a form of one's own implements [`Form`], most often around an
//! `HttpForm`, and is given a name with [`Forms::with`].

mod codec;
mod field;
mod http;
mod multipart;
mod request;
mod urlencoded;

pub(crate) use codec::{decode_text, text_names};
pub(crate) use field::clean_datetime;
pub use http::HttpForm;
pub use request::{Found, Limits, Parameter, Request, Unreadable};
pub(crate) use request::{is_json, json_error};

use jiff::Timestamp;
use postern_config::{Catalogue, NameTaken, backend::BackendConfig};
use postern_shared::message::Identity;
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// The name of [`HttpForm`], the form of every backend that names no other.
const HTTP: &str = "http";

/// Turns a provider's request into a message.
///
/// A form is shared by all threads and called once for each request; it must not block. The
/// backend's `checks` are applied to whatever it returns, so a form has no need to.
pub trait Form: Send + Sync {
    /// What the request says, cleaned.
    ///
    /// # Errors
    /// What is wrong, for whoever sent the request. Nothing is stored then.
    fn clean(&self, request: &Request<'_>) -> Result<Cleaned, Errors>;
}

/// What a request says, in our names.
#[derive(Clone, PartialEq)]
pub struct Cleaned {
    /// Who wrote.
    pub identity: Identity,
    /// What they wrote; may be empty.
    pub text: String,
    /// The declared extra parameters.
    pub fields: Map<String, Value>,
    /// The provider's own id of the message.
    pub external_id: Option<String>,
    /// When the provider says that it got the message.
    pub received_at: Option<Timestamp>,
}

/// Hides what people wrote.
impl fmt::Debug for Cleaned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cleaned").field("fields", &self.fields.len()).finish_non_exhaustive()
    }
}

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

/// A key below `backends.NAME`, and what is wrong there.
pub type KeyProblem = (String, String);

type Factory = Arc<dyn Fn(&BackendConfig) -> Result<Arc<dyn Form>, Vec<KeyProblem>> + Send + Sync>;

/// The forms that a program knows, by the names that `receive.form` gives them. Explicit: nothing
/// registers itself.
#[derive(Clone)]
pub struct Forms(BTreeMap<String, Factory>);

/// A form's name that is registered already, or that nobody registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormNameError {
    /// It is registered already.
    #[error("the form `{name}` is registered twice; known are: {known}")]
    Taken {
        /// The name.
        name: String,
        /// The registered names, comma-separated.
        known: String,
    },
    /// Nobody registered it.
    #[error("unknown form `{name}`; known are: {known}")]
    Unknown {
        /// The name.
        name: String,
        /// The registered names, comma-separated.
        known: String,
    },
}

impl Forms {
    /// The built-in form, `http`.
    pub fn builtin() -> Self {
        let http: Factory = Arc::new(|backend| {
            let form = HttpForm::new(&backend.definition.receive)?;
            Ok(Arc::new(form))
        });
        Self(BTreeMap::from([(HTTP.to_owned(), http)]))
    }

    /// The same with one more form. `factory` is called at the start, once for each backend that
    /// names it; it answers with the keys below `backends.NAME` that are wrong, if any.
    ///
    /// A form that takes one sender's messages only:
    /// ```
    /// use postern_ingress::forms::{Cleaned, Errors, Form, Forms, HttpForm, Request};
    ///
    /// struct OneNumber(HttpForm);
    ///
    /// impl Form for OneNumber {
    ///     fn clean(&self, request: &Request<'_>) -> Result<Cleaned, Errors> {
    ///         let cleaned = self.0.clean(request)?;
    ///         if cleaned.identity.as_str() != "1231231234" {
    ///             return Err(Errors::whole("SMS received from number other than 1231231234"));
    ///         }
    ///         Ok(cleaned)
    ///     }
    /// }
    ///
    /// let forms = Forms::builtin().with("one-number", |backend| {
    ///     HttpForm::new(&backend.definition.receive).map(OneNumber)
    /// })?;
    /// assert_eq!(forms.names(), "http, one-number");
    /// # Ok::<(), postern_ingress::forms::FormNameError>(())
    /// ```
    ///
    /// # Errors
    /// [`FormNameError::Taken`]
    pub fn with<F, B>(mut self, name: &str, factory: B) -> Result<Self, FormNameError>
    where
        F: Form + 'static,
        B: Fn(&BackendConfig) -> Result<F, Vec<KeyProblem>> + Send + Sync + 'static,
    {
        if self.0.contains_key(name) {
            return Err(FormNameError::Taken { name: name.to_owned(), known: self.names() });
        }
        self.0.insert(name.to_owned(), Arc::new(move |backend| Ok(Arc::new(factory(backend)?))));
        Ok(self)
    }

    /// The names, comma-separated.
    pub fn names(&self) -> String {
        self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Tells `catalogue` of the forms that are not built in, so that a configuration may name them.
    ///
    /// # Errors
    /// [`NameTaken`] where the catalogue has one of them already.
    pub fn add_to(&self, catalogue: &mut Catalogue) -> Result<(), NameTaken> {
        self.0.keys().filter(|name| *name != HTTP).try_for_each(|name| catalogue.add_form(name))
    }

    /// The form of `backend`.
    pub(crate) fn build(&self, backend: &BackendConfig) -> Result<Arc<dyn Form>, Vec<KeyProblem>> {
        let name = &backend.definition.receive.form;
        match self.0.get(name) {
            Some(factory) => factory(backend),
            None => {
                let error = FormNameError::Unknown { name: name.clone(), known: self.names() };
                Err(vec![("receive.form".to_owned(), error.to_string())])
            }
        }
    }
}

impl fmt::Debug for Forms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_once_and_the_catalogue_learns_of_it() {
        let new = |backend: &BackendConfig| HttpForm::new(&backend.definition.receive);
        let forms = Forms::builtin().with("mine", new).unwrap();
        let why = forms.clone().with("mine", new).unwrap_err().to_string();
        assert!(why.contains("twice") && why.contains("http, mine"), "{why}");
        assert!(Forms::builtin().with("http", new).is_err());
        let mut catalogue = Catalogue::builtin();
        forms.add_to(&mut catalogue).unwrap();
        assert_eq!(catalogue.known_forms(), "http, mine");
    }

    #[test]
    fn an_error_is_one_line_whatever_is_in_it() {
        let mut errors = Errors::of("a\nb", "x\r\ny");
        errors.push_whole("z");
        assert_eq!(errors.to_string(), "form failed to validate\na b: x  y\nz");
    }
}
