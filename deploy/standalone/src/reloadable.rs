//! Applies a changed configuration to the whole gateway.

use postern_config::{Config, Problem, ProviderRegistry};
use postern_dispatcher::{DispatcherReload, Validated, connectors::ConnectorRegistry};
use postern_ingress::{IngressReload, PreparedIngress, forms::Forms};
use postern_service::{
    program::{self, Arguments},
    reload::Reload,
};
use std::sync::Arc;

/// Both halves of a running gateway.
pub(crate) struct ReloadableGateway<'g> {
    pub(crate) connectors: &'g ConnectorRegistry,
    pub(crate) forms: &'g Forms,
    pub(crate) arguments: &'g Arguments,
    pub(crate) providers: ProviderRegistry,
    pub(crate) ingress: IngressReload,
    pub(crate) dispatcher: DispatcherReload,
}

impl Reload for ReloadableGateway<'_> {
    type Read = (Validated, PreparedIngress);

    fn read(&self) -> Result<Self::Read, Vec<Problem>> {
        let config = Arc::new(program::load(self.arguments, &self.providers)?);
        let receiving = self.ingress.prepare(Arc::clone(&config), self.forms);
        match (postern_dispatcher::validate(config, self.connectors), receiving) {
            (Ok(validated), Ok(prepared)) => Ok((validated, prepared)),
            (sending, receiving) => {
                let wrong = [receiving.err(), sending.err()].into_iter().flatten();
                Err(wrong.flatten().collect())
            }
        }
    }

    fn config((validated, _): &Self::Read) -> &Arc<Config> {
        validated.config()
    }

    /// Changes the sending half first, so that any message that the ingress then accepts can be sent.
    async fn apply(&self, (validated, prepared): Self::Read) -> Result<(), String> {
        self.dispatcher.apply(validated).await.map_err(|error| error.to_string())?;
        self.ingress.apply(prepared);
        Ok(())
    }
}
