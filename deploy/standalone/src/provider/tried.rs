//! `postern provider try`, which puts recorded requests, a send and recorded answers through the functions
//! of the ingress and the dispatcher.

use super::{
    example, named,
    recorded::{self, Recorded, RecordedAnswer, SETTINGS},
    wrong,
};
use clap::Args;
use postern_config::{Config, KeyProblem, Loader, NeededSecrets, ProviderRegistry, backend::BackendConfig};
use postern_dispatcher::trial::{SendTrial, TriedRequest};
use postern_ingress::{
    forms::Forms,
    trial::{ReceiveTrial, RecordedRequest, Tried, TriedContent},
};
use postern_service::program::Exit;
use postern_shared::{
    error::Failure,
    message::{Identity, Inbound, Outbound, Recipient, Report},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The options of `postern provider try`.
#[derive(Debug, Clone, Args)]
pub(crate) struct TryArguments {
    /// The provider's file, or a built-in type such as twilio
    file: String,
    /// A recorded request, a table of requests, or a folder of recorded requests; if absent, the folder next
    /// to the provider's file with the same name
    ///
    /// A file holds one HTTP message: POST /path HTTP/1.1, headers, an empty line, the body. A file that
    /// begins with HTTP/1.1 200 OK is a provider's answer to a send, as with --answer.
    #[arg(long, value_name = "FILE|DIR")]
    requests: Option<PathBuf>,
    /// A provider's answer to a send, as curl -i prints it, to see how it is classified
    #[arg(long, value_name = "FILE")]
    answer: Option<PathBuf>,
    /// The backend's settings, one per line; if absent, settings.toml next to the requests. A required
    /// setting that is missing gets its own name as its value
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The recipient of the message
    #[arg(long, value_name = "IDENTITY", default_value = "+254711000001")]
    to: Vec<Identity>,
    /// The text of the message
    #[arg(long, value_name = "TEXT", default_value = "Habari & karibu")]
    text: String,
    /// The scheme and host that the provider called, for signatures over the address
    #[arg(long, value_name = "URL", default_value = example::PUBLIC_URL)]
    public_url: String,
}

/// What the command prints.
///
/// # Errors
/// [`Exit::Config`] with what is wrong with a file.
pub(super) async fn shown(
    arguments: &TryArguments,
    known: ProviderRegistry,
    forms: &Forms,
) -> Result<String, Exit> {
    let (providers, kind) = named(known, &arguments.file)?;
    let beside = Path::new(&arguments.file).with_extension("");
    let requests = arguments.requests.clone().or_else(|| beside.is_dir().then_some(beside));
    let config = configuration(arguments, requests.as_deref(), &providers, &kind)?;
    let backend = config.backends.values().next();
    let backend = backend.ok_or_else(|| Exit::Config(format!("{kind}: the file defines no backend")))?;
    let problems = |problems: Vec<KeyProblem>| Exit::Config(listed(&arguments.file, &problems));
    let receiving = ReceiveTrial::new(&config, backend, forms).map_err(problems)?;
    let sending = SendTrial::new(backend).map_err(problems)?;

    let (mut text, mut answers) = (String::new(), Vec::new());
    for path in requests.iter().chain(&arguments.answer) {
        let files =
            recorded::files(path).map_err(|error| Exit::Config(format!("{}: {error}", path.display())))?;
        for file in files {
            for (name, recorded) in recorded::read(&file).map_err(Exit::Config)? {
                match recorded {
                    Recorded::Request(request) => text += &tried(&receiving, &name, &request).await?,
                    Recorded::Answer(answer) => answers.push((name, answer)),
                }
            }
        }
    }
    match &sending {
        Some(sending) => {
            text += &sent(sending, backend, arguments)?;
            answers.iter().for_each(|(name, answer)| text += &taken(sending, name, answer));
        }
        None => text += "This provider does not send over HTTP.\n",
    }
    Ok(text.trim_end().to_owned() + "\n")
}

fn listed(file: &str, problems: &[KeyProblem]) -> String {
    let lines: Vec<_> = problems.iter().map(|(key, why)| format!("{file}: {key}: {why}")).collect();
    lines.join("\n")
}

/// A configuration with one backend of the type `kind`.
fn configuration(
    arguments: &TryArguments,
    requests: Option<&Path>,
    providers: &ProviderRegistry,
    kind: &str,
) -> Result<Config, Exit> {
    let folder = requests.map(|path| if path.is_dir() { path } else { path.parent().unwrap_or(path) });
    let beside = folder.map(|folder| folder.join(SETTINGS)).filter(|file| file.is_file());
    let given = match arguments.settings.as_ref().or(beside.as_ref()) {
        None => String::new(),
        Some(file) => {
            let unreadable = |error| Exit::Config(format!("{}: cannot be read: {error}", file.display()));
            fs::read_to_string(file).map_err(unreadable)?
        }
    };
    let named: BTreeSet<&str> =
        given.lines().filter_map(|line| Some(line.split_once('=')?.0.trim())).collect();
    let unset = example::unset(providers, kind).map_err(|invalid| wrong(&invalid))?;
    let needed = unset.definition.required_settings.iter().filter_map(|names| names.0.first());
    let secrets = unset.definition.receive.auth.secrets();
    let proving = secrets.iter().filter_map(|secret| secret.setting());
    let mut needed: BTreeSet<&str> = needed.map(String::as_str).chain(proving).collect();
    needed.retain(|name| !named.contains(name));
    // If one of several settings is required, and any of them is given, the others are not needed.
    for names in &unset.definition.required_settings {
        if names.0.iter().any(|name| named.contains(name.as_str())) {
            needed.retain(|name| !names.0.iter().any(|one| one == name));
        }
    }
    let placeholders: String = needed.iter().map(|name| format!("{name} = \"{name}\"\n")).collect();
    let public_url = &arguments.public_url;
    let text = format!(
        "[ingress]\npublic_url = {}\n[api]\nlisten = \"127.0.0.1:0\"\n[backends.{kind}]\ntype = \"{kind}\"\n\
         [backends.{kind}.receive]\nallow = []\n[backends.{kind}.settings]\n{placeholders}{given}",
        Value::from(public_url.trim_end_matches('/')),
    );
    let loader = Loader::new(providers).needing(NeededSecrets::All);
    loader.parse(&arguments.file, Some(&text), []).map_err(|invalid| {
        // The line numbers belong to the text above, which the user does not see.
        let problems = invalid.problems.into_iter().map(|mut problem| {
            problem.line = None;
            format!("{}: {problem}", arguments.file)
        });
        Exit::Config(problems.collect::<Vec<_>>().join("\n"))
    })
}

async fn tried(receiving: &ReceiveTrial, name: &str, request: &RecordedRequest) -> Result<String, Exit> {
    let tried = receiving.take(request).await.map_err(|why| Exit::Config(format!("{name}: {why}")))?;
    let Tried { brought, status, answer } = tried;
    let mut text = format!("{name}: {} {}\n", request.method, path(&request.target));
    match brought {
        TriedContent::Items { messages, reports, left_out } => {
            if messages.is_empty() && reports.is_empty() {
                text += "  ignored\n";
            }
            messages.iter().for_each(|message| text += &of_message(message));
            reports.iter().for_each(|report| text += &of_report(report));
            left_out.lines().skip(1).for_each(|line| {
                let _ = writeln!(text, "  left out: {line}");
            });
        }
        TriedContent::Handshake => text += "  answered as a handshake\n",
        TriedContent::Refused(reason) => {
            let _ = writeln!(text, "  refused ({reason})");
        }
    }
    let mut lines = answer.lines();
    let _ = writeln!(text, "  answered {status} {}", lines.next().unwrap_or_default());
    lines.for_each(|line| {
        let _ = writeln!(text, "    {line}");
    });
    text.push('\n');
    Ok(text.replace(" \n", "\n"))
}

/// The path of `target`. The values in its query are shown as what they become.
fn path(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

fn of_message(message: &Inbound) -> String {
    let mut text = "  a message\n".to_owned();
    row(&mut text, "identity", message.identity.as_str());
    row(&mut text, "text", &message.text);
    if let Some(id) = &message.external_id {
        row(&mut text, "external_id", id);
    }
    row(&mut text, "received_at", &message.received_at.to_string());
    for (name, value) in &message.fields {
        row(&mut text, &format!("fields.{name}"), value.as_str().unwrap_or(&value.to_string()));
    }
    text
}

fn of_report(report: &Report) -> String {
    let mut text = "  a delivery report\n".to_owned();
    for Recipient { identity, state, external_id, reason, .. } in &report.recipients {
        row(&mut text, "state", state.as_str());
        if let Some(identity) = identity {
            row(&mut text, "identity", identity.as_str());
        }
        match external_id {
            Some(id) => row(&mut text, "external_id", id),
            None => row(&mut text, "message_id", &report.message_id.to_string()),
        }
        if let Some(reason) = reason {
            row(&mut text, "reason", &format!("{} {} {}", reason.class.as_str(), reason.code, reason.detail));
        }
    }
    text
}

fn row(text: &mut String, name: &str, value: &str) {
    let value = value.replace('\n', "\n                  ");
    let _ = writeln!(text, "    {name:<13} {value}", value = value.trim_end());
}

/// Shows what a send would look like.
fn sent(sending: &SendTrial, backend: &Arc<BackendConfig>, arguments: &TryArguments) -> Result<String, Exit> {
    let TryArguments { to, text: said, .. } = arguments;
    for identity in to {
        if let Err(why) = backend.definition.connector.check_identity(identity) {
            return Ok(format!("a message to {} is refused: {why}\n\n", identity.as_str()));
        }
    }
    let message = json!({"backend": backend.name.as_str(), "identities": to, "text": said});
    let message =
        Outbound::from_json(message.to_string().as_bytes()).map_err(|why| Exit::Config(why.to_string()))?;
    let names: Vec<_> = to.iter().map(Identity::as_str).collect();
    let mut text = format!("a message to {} would be sent as\n", names.join(", "));
    match sending.requests(&message) {
        Ok(requests) => requests.iter().for_each(|request| text += &of_request(request)),
        Err(failure) => {
            let _ = writeln!(text, "  not sent: {}\n", of_failure(&failure));
        }
    }
    Ok(text)
}

fn of_request(request: &TriedRequest) -> String {
    let TriedRequest { method, url, headers, body } = request;
    let mut text = format!("  {method} {url}\n");
    for (name, value) in headers {
        let _ = writeln!(text, "  {name}: {value}");
    }
    if !body.is_empty() {
        let _ = writeln!(text, "\n  {}", body.replace('\n', "\n  "));
    }
    text + "\n"
}

/// Shows how an answer would be classified.
fn taken(sending: &SendTrial, name: &str, answer: &RecordedAnswer) -> String {
    let RecordedAnswer { status, headers, body } = answer;
    let outcome = match sending.outcome(*status, headers, body) {
        Ok(sent) => match sent.external_id {
            Some(id) => format!("sent; the provider's id is {id}"),
            None => "sent; the answer has no provider id".to_owned(),
        },
        Err(failure) => format!("not sent: {}", of_failure(&failure)),
    };
    format!("{name}: an answer with status {status} would mean\n  {outcome}\n\n")
}

fn of_failure(failure: &Failure) -> String {
    let detail = if failure.detail.is_empty() { String::new() } else { format!(": {}", failure.detail) };
    format!("{} {}{detail}", failure.class.as_str(), failure.code)
}
