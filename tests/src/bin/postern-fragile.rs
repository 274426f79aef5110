//! A gateway for the tests with a backend of type `fragile`: some texts crash it, and the whole process with it.

use async_trait::async_trait;
use postern::Gateway;
use postern_config::{KeyProblem, backend::BackendConfig};
use postern_dispatcher::connectors::{Backend, ConnectorRegistry, Outcomes, Sent};
use postern_shared::message::{Context, Identity, MessageId};
use std::{fs::OpenOptions, hint::black_box, io::Write, path::PathBuf, process::ExitCode, time::Duration};

/// Writes a line `ID TEXT` into the file `settings.file`. Then, depending on the first word of the text, it
/// aborts, overflows its stack, kills its process, panics, hangs, blocks its thread until the file is gone, or
/// sends the message.
struct Fragile {
    file: PathBuf,
}

impl Fragile {
    fn new(backend: &BackendConfig) -> Result<Self, Vec<KeyProblem>> {
        let file = backend.definition.settings.expose().get("file").and_then(|value| value.as_str());
        let why = || vec![("settings.file".to_owned(), "must name the file for what was sent".to_owned())];
        let file = file.ok_or_else(why)?;
        Ok(Self { file: file.into() })
    }
}

#[async_trait]
impl Backend for Fragile {
    async fn send(&self, id: MessageId, text: &str, identities: &[Identity], _: &Context) -> Outcomes {
        let opened = OpenOptions::new().create(true).append(true).open(&self.file);
        let written = opened.and_then(|mut file| file.write_all(format!("{id} {text}\n").as_bytes()));
        if let Err(error) = written {
            return Outcomes::every(Err(postern_shared::error::Failure::config("file", error.to_string())));
        }
        match text.split(' ').next() {
            Some("abort") => std::process::abort(),
            Some("overflow") => drop(black_box(deep(black_box(0)))),
            Some("kill") => {
                let own = std::process::id().to_string();
                let _ = std::process::Command::new("kill").args(["-9", &own]).status();
                std::future::pending::<()>().await;
            }
            #[allow(clippy::panic, reason = "that is what the test is about")]
            Some("panic") => panic!("on purpose"),
            Some("block") => {
                while self.file.exists() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            Some("hang") => std::future::pending::<()>().await,
            // The pause keeps other messages in flight when something crashes.
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
        identities.iter().map(|_| Ok(Sent::default())).collect()
    }

    fn deadline(&self, _: usize) -> Duration {
        Duration::from_secs(2)
    }
}

/// Recurses until the stack is used up.
fn deep(level: u64) -> u64 {
    let frame = black_box([level; 512]);
    if level == u64::MAX { 0 } else { deep(level + 1) + frame[1] }
}

fn main() -> ExitCode {
    match ConnectorRegistry::builtin().with("fragile", Fragile::new) {
        Ok(connectors) => Gateway::new().with_connectors(connectors).main(),
        Err(_) => ExitCode::FAILURE,
    }
}
