//! The exchanges and queues that a configuration makes the broker declare.

use postern_broker::{LogRoute, Topology};
use postern_config::{ApplicationSection, Config, LogPlace, MessageLogConfig};
use std::time::Duration;

/// Waits that a provider may ask for (`Retry-After`), in seconds; each has its wait queue, in addition to
/// those of the configured delays.
const STANDARD_DELAYS: [u64; 11] = [1, 2, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600];

/// Everything that the broker must have for `config`.
pub fn topology(config: &Config) -> Topology {
    let webhook = match &config.application {
        ApplicationSection::Webhook(webhook) => Some(webhook.retry.as_ref().unwrap_or(&config.retry)),
        ApplicationSection::None | ApplicationSection::Echo => None,
    };
    let called_back = config.compat.call_back().then_some(&config.retry);
    let retries = config.backends.values().map(|backend| &backend.retry).chain(webhook).chain(called_back);
    let polls = config.backends.values().filter_map(|backend| backend.definition.poll.as_ref());
    let delays = retries.flat_map(|retry| &retry.delays).chain(polls.flat_map(|poll| &poll.delays));
    let configured = delays.map(|delay| delay.0);
    let polled = config.backends.values().filter(|backend| backend.definition.poll.is_some());
    Topology {
        backends: config.backends.keys().cloned().collect(),
        polled: polled.map(|backend| backend.name.clone()).collect(),
        delays: configured.chain(STANDARD_DELAYS.map(Duration::from_secs)).collect(),
        max_reports: config.broker.max_reports,
        max_callbacks: config.broker.max_callbacks,
        max_messages: config.broker.max_messages,
        log: match config.message_log() {
            None => LogRoute::None,
            Some(MessageLogConfig { place: LogPlace::Embedded, .. }) => LogRoute::Store,
            Some(log) => LogRoute::Queue(log.max_waiting),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use postern_config::ProviderRegistry;

    #[test]
    fn the_delays_of_a_webhook_and_of_each_backend_have_queues() {
        for (own, webhook) in [("", 7), ("[application.retry]\ndelays = [\"9s\"]\n", 9)] {
            let text = format!(
                "[retry]\ndelays = [\"7s\"]\n[application]\ntype = \"webhook\"\nurl = \"http://h/\"\n\
                 format = \"form\"\n{own}[backends.x]\ntype = \"console\"\nretry = {{ delays = [\"8s\"] }}\n"
            );
            let config = Config::parse("test", Some(&text), [], &ProviderRegistry::builtin()).unwrap();
            let delays = topology(&config).delays;
            for delay in [webhook, 8].map(Duration::from_secs) {
                assert!(delays.contains(&delay), "{delay:?} is not among {delays:?}");
            }
        }
    }
}
