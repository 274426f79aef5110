//! A configuration from which a dispatcher can be built: what was validated is kept, and started.

use crate::{
    callbacks::{self, CallbackClients},
    connectors::{ConnectorRegistry, Connectors},
    webhook::WebhookCaller,
};
use postern_config::{ApplicationSection, Config, Problem};
use std::{fmt, sync::Arc};

/// A configuration from which a [`Dispatcher`](crate::Dispatcher) can be built.
pub struct Validated {
    pub(crate) config: Arc<Config>,
    /// The connector of every backend.
    pub(crate) connectors: Connectors,
    /// The caller of the webhook, if the application has one.
    pub(crate) webhook: Option<WebhookCaller>,
    /// The HTTP clients for callbacks, if compatibility listeners are configured.
    pub(crate) callbacks: Option<CallbackClients>,
}

/// Validates what only the dispatcher can judge: the backends' connectors, including those that
/// `connectors` has registered, the webhook, and the callbacks.
///
/// # Errors
/// Every problem, with its key and its line.
pub fn validate(config: Arc<Config>, connectors: &ConnectorRegistry) -> Result<Validated, Vec<Problem>> {
    let mut problems = Vec::new();
    let connectors = connectors.validate_all(&config).unwrap_or_else(|wrong| {
        problems.extend(wrong);
        Connectors::new()
    });
    let webhook = match &config.application {
        ApplicationSection::Webhook(webhook) => Some(WebhookCaller::new(webhook)),
        ApplicationSection::None | ApplicationSection::Echo => None,
    };
    let webhook = webhook.transpose().unwrap_or_else(|(key, why)| {
        problems.push(config.problem(format!("application.{key}"), why));
        None
    });
    let callbacks = config.compat.call_back().then(|| callbacks::clients(&config.compat));
    let callbacks = callbacks.transpose().unwrap_or_else(|(key, why)| {
        problems.push(config.problem(format!("compat.callbacks.{key}"), why));
        None
    });
    if problems.is_empty() { Ok(Validated { config, connectors, webhook, callbacks }) } else { Err(problems) }
}

impl Validated {
    /// The configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }
}

impl fmt::Debug for Validated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Validated").field("connectors", &self.connectors.keys()).finish_non_exhaustive()
    }
}
