//! Reloading: another configuration is applied while requests are answered.

use crate::{certificates, forms::Forms, lasting::Lasting, state::IngressState};
use postern_config::{Config, Problem};
use postern_service::current::Current;
use std::sync::Arc;

/// Applies another configuration to a running ingress. Clones belong to the same ingress.
#[derive(Debug, Clone)]
pub struct IngressReload {
    pub(crate) lasting: Lasting,
    pub(crate) state: Current<IngressState>,
}

/// A configuration that was checked and prepared, for the ingress whose [`IngressReload`] prepared it.
#[derive(Debug)]
pub struct PreparedIngress(IngressState);

impl IngressReload {
    /// Prepares `config`; requests are not affected yet. Backends that did not change are kept.
    ///
    /// # Errors
    /// Every problem that the ingress finds, as [`problems`](crate::problems) does.
    pub fn prepare(&self, config: Arc<Config>, forms: &Forms) -> Result<PreparedIngress, Vec<Problem>> {
        let mut problems = certificates::problems(&config);
        let before = self.state.get();
        match IngressState::new(config, &self.lasting, Some(&before), forms) {
            Ok(state) if problems.is_empty() => Ok(PreparedIngress(state)),
            state => {
                problems.extend(state.err().unwrap_or_default());
                Err(problems)
            }
        }
    }

    /// Answers every request from now on by `prepared`. Requests in flight keep the configuration with which
    /// they began.
    pub fn apply(&self, prepared: PreparedIngress) {
        prepared.0.announce();
        self.state.set(prepared.0);
    }
}
