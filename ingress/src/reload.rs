//! Taking over another configuration while requests are answered.

use crate::{certificates, forms::Forms, lasting::Lasting, state::IngressState};
use postern_config::{Config, Problem};
use postern_service::current::Current;
use std::sync::Arc;

/// Has a running ingress take over another configuration. Clones are of the same ingress.
#[derive(Debug, Clone)]
pub struct IngressReload {
    pub(crate) lasting: Lasting,
    pub(crate) state: Current<IngressState>,
}

/// A configuration that was checked and made ready, for the ingress that it was made by.
#[derive(Debug)]
pub struct PreparedIngress(IngressState);

impl IngressReload {
    /// Makes `config` ready; requests see nothing of it yet. What backends have that did not change is kept.
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

    /// Answers every request that comes from now on as `prepared` says. Those in flight end as they began.
    pub fn apply(&self, prepared: PreparedIngress) {
        prepared.0.announce();
        self.state.set(prepared.0);
    }
}
