//! The forms that a program knows, by name.

use super::{form::Form, http::HttpForm};
use postern_config::{KeyProblem, NameTaken, ProviderRegistry, backend::BackendConfig};
use std::{collections::BTreeMap, fmt, sync::Arc};

/// The name of [`HttpForm`], the form of every backend that names no other.
const HTTP: &str = "http";

type Factory = Arc<dyn Fn(&BackendConfig) -> Result<Arc<dyn Form>, Vec<KeyProblem>> + Send + Sync>;

/// The forms that a program knows, by the names that `receive.form` gives them. Explicit: nothing
/// registers itself.
#[derive(Clone)]
pub struct Forms(BTreeMap<String, Factory>);

/// The error about a form's name that is registered already, or not at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormNameError {
    /// The name is registered already.
    #[error("the form `{name}` is registered twice; known: {known}")]
    Taken {
        /// The name.
        name: String,
        /// The registered names, comma-separated.
        known: String,
    },
    /// No form is registered under the name.
    #[error("unknown form `{name}`; known: {known}")]
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

    /// The same forms and one more. `factory` is called when a configuration is loaded, for each backend that
    /// names the form; its error lists the keys below `backends.NAME` that are wrong.
    ///
    /// A form that accepts only one sender's messages:
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

    /// The names of the forms, comma-separated.
    pub fn names(&self) -> String {
        self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }

    /// Adds the names of the forms that are not built in to `providers`, so that a configuration may use
    /// them.
    ///
    /// # Errors
    /// [`NameTaken`] if `providers` has one of the names already.
    pub fn add_to(&self, providers: &mut ProviderRegistry) -> Result<(), NameTaken> {
        self.0.keys().filter(|name| *name != HTTP).try_for_each(|name| providers.add_form(name))
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
    fn a_name_is_taken_once_and_the_providers_learn_of_it() {
        let new = |backend: &BackendConfig| HttpForm::new(&backend.definition.receive);
        let forms = Forms::builtin().with("mine", new).unwrap();
        let why = forms.clone().with("mine", new).unwrap_err().to_string();
        assert!(why.contains("twice") && why.contains("http, mine"), "{why}");
        assert!(Forms::builtin().with("http", new).is_err());
        let mut providers = ProviderRegistry::builtin();
        forms.add_to(&mut providers).unwrap();
        assert_eq!(providers.known_forms(), "http, mine");
    }
}
