//! The connector `console`: sends by writing a log line.

mod show;

use super::connector::Backend;
use crate::outcome::{Outcomes, Sent};
use async_trait::async_trait;
use postern_config::{
    KeyProblem,
    backend::{BackendConfig, connector::SHOW},
};
use postern_shared::message::{BackendName, Context, Identity, MessageId};
use serde_json::Value;
use show::shown;
use std::io::{self, Write};

/// Writes one log line for each message, and accepts every message. The line holds sizes, never an identity
/// or a text. With `settings.show`, the message itself is written to standard output too.
#[derive(Debug)]
pub struct Console {
    name: BackendName,
    shows: bool,
}

impl Console {
    /// The connector of `backend`.
    ///
    /// # Errors
    /// `settings.show` is neither true nor false.
    pub fn new(backend: &BackendConfig) -> Result<Self, Vec<KeyProblem>> {
        let shows = match backend.definition.settings.expose().get(SHOW) {
            None => false,
            Some(Value::Bool(shows)) => *shows,
            Some(_) => {
                return Err(vec![(format!("settings.{SHOW}"), "must be true or false".to_owned())]);
            }
        };
        Ok(Self { name: backend.name.clone(), shows })
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
            "message written by the console backend"
        );
        if self.shows {
            let lines = shown(&self.name, text, identities);
            // In a task that may block: a terminal that nobody reads must not hold up other backends. If it
            // is gone, there is nobody to show the message to.
            let _ = tokio::task::spawn_blocking(move || io::stdout().write_all(lines.as_bytes())).await;
        }
        Outcomes::every(Ok(Sent::without_id()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_config::{Config, ProviderRegistry};

    fn console(text: Option<&str>) -> Result<Console, Vec<KeyProblem>> {
        let config = Config::parse("test", text, [], &ProviderRegistry::builtin()).unwrap();
        Console::new(config.backends.values().next().unwrap())
    }

    #[tokio::test]
    async fn it_takes_every_message_for_every_recipient() {
        let console = console(Some("[backends.demo]\ntype = \"console\"\n")).unwrap();
        let identities = ["+1", "+2"].map(|identity| identity.parse().unwrap());
        let outcomes = console.send(MessageId::new(), "hi", &identities, &Context::new()).await;
        assert_eq!(outcomes.into_each(2), [Ok(Sent::without_id()), Ok(Sent::without_id())]);
    }

    #[test]
    fn only_the_built_in_demo_shows_messages_unless_it_is_told_to() {
        assert!(console(None).unwrap().shows, "the built-in configuration");
        for (settings, shows) in [
            ("", Some(false)),
            ("show = true", Some(true)),
            ("show = false", Some(false)),
            ("show = 1", None),
            ("show = \"true\"", None),
        ] {
            let text = format!("[backends.demo]\ntype = \"console\"\n[backends.demo.settings]\n{settings}\n");
            match (console(Some(&text)), shows) {
                (Ok(console), Some(shows)) => assert_eq!(console.shows, shows, "{settings}"),
                (Err(problems), None) => assert_eq!(problems[0].0, "settings.show", "{settings}"),
                (other, _) => panic!("{settings}: {other:?}"),
            }
        }
    }
}
