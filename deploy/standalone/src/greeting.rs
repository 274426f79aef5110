//! What the program writes to stdout: its addresses, and what to try.

use postern_config::{
    Config,
    backend::{BackendConfig, auth::ReceiveAuth, http::Method},
    source_name,
};
use postern_service::program::Arguments;
use std::{
    fmt::{Display, Write as _},
    io::{self, Write as _},
    net::SocketAddr,
    sync::Arc,
};

/// The addresses on which a gateway listens.
pub(crate) struct Addresses {
    pub(crate) providers: SocketAddr,
    pub(crate) applications: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// The greeting of a gateway that has started.
pub(crate) fn ready(version: &str, addresses: &Addresses, config: &Config) -> String {
    let Addresses { providers, applications, admin } = addresses;
    let names: Vec<_> = config.backends.keys().map(ToString::to_string).collect();
    let shown = match &names[..] {
        [one] => one.clone(),
        [] => "NAME (none is configured yet)".to_owned(),
        many if many.len() <= 8 => format!("{{{}}}", many.join(",")),
        many => format!("NAME ({} are configured)", many.len()),
    };
    // The part before the colon: what follows may hold a password.
    let broker = match config.broker.url.expose().split_once(':') {
        Some(("embedded", folder)) => format!("embedded:{folder}"),
        _ => "RabbitMQ".to_owned(),
    };
    let scheme = |tls: bool| if tls { "https" } else { "http" };
    let public = scheme(config.ingress.tls.is_some());
    let api = if config.api.listen.is_some() { scheme(config.api.tls.is_some()) } else { public };
    let operations = scheme(config.admin.tls.is_some());
    let mut text = format!(
        "Postern {version} is ready.\n\
         \x20 providers    {public}://{providers}/backends/{shown}\n\
         \x20 your apps    {api}://{applications}/v1/messages\n\
         \x20 operations   {operations}://{admin}/metrics, /livez, /readyz\n\
         \x20 messages     {broker}\n"
    );
    let plain = |backend: &&Arc<BackendConfig>| {
        let receive = &backend.definition.receive;
        let open = matches!(receive.auth, ReceiveAuth::None) && receive.allow.is_empty();
        let standard =
            open && receive.params.is_empty() && receive.fields.is_empty() && receive.checks.is_empty();
        standard && receive.methods.contains(&Method::Post)
    };
    if let Some(backend) = config.backends.values().find(plain) {
        let _ = write!(
            text,
            "\nTry it, from another terminal:\n\
             \x20 curl -d 'identity=1112223333&text=ping' {public}://{providers}/backends/{}\n",
            backend.name
        );
    }
    text
}

/// A number with its noun: `1 warning`, `2 warnings`.
pub(crate) fn count<N: Copy + Display + PartialEq + From<u8>>(number: N, what: &str) -> String {
    if number == N::from(1) { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// What `postern check` writes about a valid configuration; `warnings` is how many it has.
pub(crate) fn valid(arguments: &Arguments, config: &Config, warnings: usize) -> String {
    let mut text = format!("{}: valid", source_name(arguments.config.as_deref()));
    for (number, what) in [(warnings, "warning"), (config.absent_secrets.len(), "secret")] {
        if number > 0 {
            let not_read = if what == "secret" { " not read" } else { "" };
            text += &format!(", {}{not_read}", count(number, what));
        }
    }
    let names: Vec<_> = config.backends.keys().map(ToString::to_string).collect();
    match names.len() {
        0 => text + "; no backends\n",
        number => format!("{text}; {}: {}\n", count(number, "backend"), names.join(", ")),
    }
}

/// Writes to stdout. A closed stdout is not an error.
pub(crate) fn print(text: &str) -> io::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
