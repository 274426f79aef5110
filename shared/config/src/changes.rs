//! The differences between two configurations, and which of them can be applied to a running process.

/// The keys that can be applied to a running process, with everything below them.
const RELOADABLE: [&str; 17] = [
    "backends",
    "api.keys",
    "application",
    "compat",
    "retry",
    "breaker",
    "dispatcher.backends",
    "dispatcher.concurrency",
    "ingress.public_url",
    "ingress.client_header",
    "ingress.max_body",
    "ingress.max_fields",
    "ingress.max_items",
    "ingress.max_key",
    "ingress.max_value",
    "ingress.rate_limit",
    "ingress.dedupe_window",
];
/// The exceptions, which need a restart: routes are made when a listener starts.
const PATHS: [&str; 2] = ["compat.kannel.path", "compat.vumi.path"];

/// The differences between two configurations, as keys. A backend is named as a whole (`backends.clinic`), and so
/// is an API key or a user (`api.keys.clinic-app`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The keys that were not there before.
    pub added: Vec<String>,
    /// The keys whose value is different now.
    pub changed: Vec<String>,
    /// The keys that are no longer there.
    pub removed: Vec<String>,
    /// How many backends, API keys and users have not changed.
    pub unchanged: usize,
}

impl Changes {
    /// Whether the configurations do not differ.
    pub fn is_empty(&self) -> bool {
        self.all().next().is_none()
    }

    /// The keys that cannot be applied to a running process, in order.
    pub fn needing_restart(&self) -> Vec<String> {
        let mut keys: Vec<_> = self.all().filter(|key| !is_reloadable(key)).map(str::to_owned).collect();
        keys.sort();
        keys
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        [&self.added, &self.changed, &self.removed].into_iter().flatten().map(String::as_str)
    }
}

fn is_reloadable(key: &str) -> bool {
    RELOADABLE.iter().any(|whole| crate::reader::is_in(key, whole)) && !PATHS.contains(&key)
}
