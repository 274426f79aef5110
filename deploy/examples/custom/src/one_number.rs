//! A form that takes messages from one number only.

use postern_config::backend::BackendConfig;
use postern_ingress::forms::{Cleaned, Errors, Form, HttpForm, KeyProblem, Request};
use postern_shared::message::Identity;

/// Cleans as the built-in form does, and refuses every number but `settings.number`.
#[derive(Debug)]
pub struct OneNumber {
    form: HttpForm,
    number: Identity,
}

impl OneNumber {
    /// Creates the form; called once for each backend with `receive.form = "one-number"`.
    ///
    /// # Errors
    /// The keys below the backend's that are missing or wrong.
    pub fn new(backend: &BackendConfig) -> Result<Self, Vec<KeyProblem>> {
        let form = HttpForm::new(&backend.definition.receive)?;
        let number = backend.definition.settings.expose().get("number").and_then(|value| value.as_str());
        match number.map(str::parse) {
            Some(Ok(number)) => Ok(Self { form, number }),
            _ => Err(vec![("settings.number".to_owned(), "must be the number that may send".to_owned())]),
        }
    }
}

impl Form for OneNumber {
    fn clean(&self, request: &Request<'_>) -> Result<Cleaned, Errors> {
        let cleaned = self.form.clean(request)?;
        if cleaned.identity == self.number {
            Ok(cleaned)
        } else {
            let number = self.number.as_str();
            Err(Errors::whole(format!("SMS received from number other than {number}")))
        }
    }
}
