//! The configuration of Postern's programs.

use super::{Application, BATCHES, CONCURRENCY};
use crate::ends::{Ends, THINKING};
use std::time::Duration;

/// The configuration of a scenario, with the backends `x` and `batches`, which accepts several messages in one
/// request.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// The broker's URL.
    pub(super) url: String,
    pub(super) application: Application,
    /// How long the provider and the application take to answer.
    pub(super) thinking: Duration,
    /// Lines of `[ingress]`.
    ingress: String,
    /// Further backends.
    backends: Vec<&'static str>,
    /// Further sections.
    sections: String,
    /// How long a publish may take. What is confirmed later is spooled, and may come twice.
    publish_timeout: &'static str,
    /// Whether there is a message log to compare with the ledger.
    pub(super) logged: bool,
}

impl Setup {
    /// A configuration with the broker at `url` and a webhook.
    pub(crate) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            application: Application::Webhook,
            thinking: THINKING,
            ingress: String::new(),
            backends: Vec::new(),
            sections: String::new(),
            publish_timeout: "5s",
            logged: url.starts_with("embedded:"),
        }
    }

    /// Uses the application `echo`.
    pub(crate) fn echo(self) -> Self {
        Self { application: Application::Echo, ..self }
    }

    /// Sets the lines of `[ingress]`.
    pub(crate) fn ingress(self, lines: &str) -> Self {
        Self { ingress: lines.to_owned(), ..self }
    }

    /// Adds a backend.
    pub(crate) fn backend(mut self, name: &'static str) -> Self {
        self.backends.push(name);
        self
    }

    /// Sets further sections.
    pub(crate) fn sections(self, sections: &str) -> Self {
        Self { sections: sections.to_owned(), ..self }
    }

    /// Sets how long the ends take to answer.
    pub(crate) fn thinking(self, thinking: Duration) -> Self {
        Self { thinking, ..self }
    }

    /// Waits for each confirm for a minute: in a scenario that allows no duplicate, a broker that is slow because
    /// the machine is busy must not make one.
    pub(crate) fn patient(self) -> Self {
        Self { publish_timeout: "1m", ..self }
    }

    /// Says that the sections configure a message log.
    pub(crate) fn logged(self) -> Self {
        Self { logged: true, ..self }
    }

    /// The configuration as TOML.
    pub(super) fn toml(&self, ends: &Ends) -> String {
        let Self { url, ingress, sections, publish_timeout, .. } = self;
        let application = match self.application {
            Application::Echo => "type = \"echo\"".to_owned(),
            Application::Webhook => format!(
                "type = \"webhook\"\nurl = \"{}\"\nconcurrency = {CONCURRENCY}\n\
                 secret = \"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\"",
                ends.application()
            ),
        };
        let backends = ["x", BATCHES].iter().chain(&self.backends);
        let backends: String = backends.map(|name| backend(name, ends)).collect();
        format!(
            "[broker]\nurl = \"{url}\"\npublish_timeout = \"{publish_timeout}\"\nmin_free_disk = 0\n[ingress]\n{ingress}\n\
             [dispatcher]\nconcurrency = {CONCURRENCY}\n[application]\n{application}\n\
             [retry]\ndelays = [\"1s\", \"1s\", \"1s\"]\n{backends}[backends.{BATCHES}.receive]\n\
             each = \"/results\"\nparams = {{ identity = \"/from\", text = \"/text\", external_id = \"/id\" }}\n\
             {sections}"
        )
    }
}

fn backend(name: &str, ends: &Ends) -> String {
    format!(
        "[backends.{name}]\ntype = \"http\"\n[backends.{name}.send]\nurl = \"{}\"\n\
         json = {{ id = \"{{{{ id }}}}\", to = \"{{{{ identity }}}}\", text = \"{{{{ text }}}}\" }}\n",
        ends.provider()
    )
}
