//! `postern reload`, which makes a running gateway, or one half of it, reload its configuration.

use crate::{admin_client::AdminClient, admin_target::AdminTarget, given_by::GivenBy, greeting::print};
use clap::Args;
use postern_service::{control::PlainCommand, program::Exit, reload::Reloaded};
use postern_shared::terminal::{self, plain};
use serde_json::Value;
use std::fmt::Write as _;

/// The options of `postern reload`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ReloadArguments {
    /// Only print what would change
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminTarget,
    #[command(flatten)]
    given_by: GivenBy,
}

/// Asks the gateway to reload. Its admin port is at `admin_url` unless `wanted` names another.
///
/// # Errors
/// [`Exit::Config`] with each mistake that the gateway finds, or each change that needs a restart.
/// [`Exit::Failed`] for anything else.
pub(crate) async fn run(wanted: ReloadArguments, admin_url: &str) -> Result<(), Exit> {
    let ReloadArguments { dry_run, json, admin: target, given_by } = wanted;
    let client = AdminClient::new(target.admin.as_deref().unwrap_or(admin_url), &target)?;
    let command = PlainCommand { dry_run, by: Some(given_by.name()) };
    let (status, body) = client.send(client.post(client.path(&["reload"])?).json(&command)).await?;
    if let Some(mistakes) = mistakes(&body) {
        return Err(Exit::Config(mistakes));
    }
    let done: Reloaded = client.read(status, &body)?;
    let said = if json { terminal::json(&serde_json::to_string_pretty(&done)?) + "\n" } else { text(&done) };
    Ok(print(&said)?)
}

/// The mistakes in a refusal, in the words of `postern check`, or the keys that need a restart. `None` if
/// the refusal holds neither.
fn mistakes(body: &[u8]) -> Option<String> {
    let refusal: Value = serde_json::from_slice(body).ok()?;
    let text = |value: &Value| value.as_str().map(plain).unwrap_or_default();
    let line = |problem: &Value| {
        let place = problem["line"].as_u64().map(|line| format!("line {line}: ")).unwrap_or_default();
        let key = text(&problem["key"]);
        let colon = if key.is_empty() { "" } else { ": " };
        format!("{place}{key}{colon}{}", text(&problem["what"]))
    };
    let lines: Vec<String> = match (&refusal["problems"], &refusal["needs_restart"]) {
        (Value::Array(problems), _) => problems.iter().map(line).collect(),
        (_, Value::Array(keys)) => keys
            .iter()
            .map(|key| format!("{}: cannot change while Postern runs: restart it", text(key)))
            .collect(),
        _ => return None,
    };
    Some(format!("{}\nnothing was changed", lines.join("\n")))
}

/// What `postern reload` prints for people.
fn text(done: &Reloaded) -> String {
    let Reloaded { added, changed, removed, unchanged, dry_run, waiting } = done;
    let mut said = String::new();
    for (what, keys) in [("added", added), ("changed", changed), ("removed", removed)] {
        for key in keys {
            let _ = writeln!(said, "{what:7}  {}", plain(key));
        }
    }
    for (backend, messages) in waiting {
        let _ = writeln!(
            said,
            "{messages} messages wait for {backend} and stay in its queue: `postern queue move` gives them \
             to another backend"
        );
    }
    let done = match (said.is_empty(), *dry_run) {
        (true, _) => "the configuration is the same as the running one",
        (false, true) => "dry run: nothing was changed",
        (false, false) => "the configuration was reloaded",
    };
    let _ = writeln!(said, "{done}; {unchanged} backends, keys and users are unchanged");
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_listed_and_mistakes_are_said_as_check_says_them() {
        let done = Reloaded {
            added: vec!["backends.new".to_owned()],
            removed: vec!["backends.old".to_owned()],
            unchanged: 3,
            waiting: [("old".parse().unwrap(), 2)].into(),
            ..Reloaded::default()
        };
        let said = text(&done);
        assert_eq!(
            said,
            "added    backends.new\nremoved  backends.old\n2 messages wait for old and stay in its queue: \
             `postern queue move` gives them to another backend\nthe configuration was reloaded; 3 backends, \
             keys and users are unchanged\n"
        );
        assert!(text(&Reloaded { dry_run: true, ..done }).contains("dry run: nothing was changed; 3"));
        assert!(
            text(&Reloaded::default()).starts_with("the configuration is the same as the running one; 0")
        );
        let body = br#"{"problems":[{"key":"api.x","line":3,"what":"unknown key"},{"key":"","line":null,"what":"odd"}]}"#;
        assert_eq!(mistakes(body).unwrap(), "line 3: api.x: unknown key\nodd\nnothing was changed");
        let body = br#"{"needs_restart":["broker.url"]}"#;
        assert_eq!(
            mistakes(body).unwrap(),
            "broker.url: cannot change while Postern runs: restart it\nnothing was changed"
        );
        assert_eq!(mistakes(br#"{"detail":"drains"}"#), None);
    }
}
