//! Both services with one virtual host.

use crate::{
    program::{Launch, Program},
    rabbit::Rabbit,
    tap::Tap,
    vhost::Vhost,
};

/// An ingress and a dispatcher with the same configuration, and an application's view of the broker between
/// them.
#[derive(Debug)]
pub struct Pair {
    /// `postern-ingress`
    pub ingress: Program,
    /// `postern-dispatcher`
    pub dispatcher: Program,
    /// The application.
    pub tap: Tap,
    /// The virtual host that they share.
    pub vhost: Vhost,
}

impl Pair {
    /// Starts both in a new virtual host; `config` is the configuration without `[broker]`.
    pub async fn start(config: &str) -> Self {
        let vhost = Rabbit::shared().vhost();
        let (ingress, dispatcher) = Self::services(&vhost.config(config)).await;
        Self { ingress, dispatcher, tap: vhost.tap().await, vhost }
    }

    /// Starts both with `config`, which is the whole configuration.
    pub async fn services(config: &str) -> (Program, Program) {
        let (ingress, dispatcher) = (Launch::ingress(config), Launch::dispatcher(config));
        tokio::join!(ingress.start(), dispatcher.start())
    }

    /// Stops both and checks that neither has logged any of `secrets`.
    pub async fn ends_silent(self, secrets: &[&str]) {
        tokio::join!(self.ingress.ends_silent(secrets), self.dispatcher.ends_silent(secrets));
    }
}
