//! The connector `console`: sends by writing a log line.

use super::connector::Backend;
use crate::outcome::{Outcomes, Sent};
use async_trait::async_trait;
use postern_shared::message::{BackendName, Context, Identity, MessageId};

/// Writes one log line for each message, and takes every one of them. The line holds sizes, never a
/// number or a text.
#[derive(Debug)]
pub struct Console {
    name: BackendName,
}

impl Console {
    /// For the backend `name`.
    pub fn new(name: BackendName) -> Self {
        Self { name }
    }
}

#[async_trait]
impl Backend for Console {
    async fn send(&self, id: MessageId, text: &str, identities: &[Identity], _: &Context) -> Outcomes {
        tracing::info!(
            target: "postern_dispatcher::console",
            backend = self.name.as_str(),
            message_id = %id,
            recipients = identities.len(),
            characters = text.chars().count(),
            "a message"
        );
        Outcomes::every(Ok(Sent::without_id()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_takes_every_message_for_every_recipient() {
        let console = Console::new("demo".parse().unwrap());
        let identities = ["+1", "+2"].map(|identity| identity.parse().unwrap());
        let outcomes = console.send(MessageId::new(), "hi", &identities, &Context::new()).await;
        assert_eq!(outcomes.into_each(2), [Ok(Sent::without_id()), Ok(Sent::without_id())]);
    }
}
