//! `postern key`, which makes a new key for an application, and the lines for the configuration.

use anyhow::anyhow;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::Args;
use postern_config::Right;
use postern_shared::{
    message::BackendName,
    value::{Moment, SecretDigest},
};
use rustls::crypto::ring;

/// Random bytes in a key.
const BYTES: usize = 32;
/// What keys begin with, so that a leaked key is recognized.
const PREFIX: &str = "postern_";

/// The options of `postern key`.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeyArguments {
    /// The name of the key's holder; to replace a key, the name of that key
    #[arg(long, default_value = "application", value_parser = name)]
    name: String,
    /// The backends that the key may send through and whose messages it may read; all if none is given
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    backends: Vec<BackendName>,
    /// What the holder may do: send, read (the state of messages, with texts and numbers), or send,read
    #[arg(long, value_name = "RIGHT", value_delimiter = ',', default_value = "send", value_parser = right)]
    may: Vec<Right>,
    /// When the key expires, such as 2026-12-01T00:00:00Z; never if absent
    #[arg(long, value_name = "TIME", value_parser = moment)]
    expires: Option<Moment>,
}

/// A new key, with the lines for the configuration, which contain only its hash.
///
/// # Errors
/// The system has no random numbers.
pub(crate) fn new(arguments: &KeyArguments) -> anyhow::Result<String> {
    let mut random = [0; BYTES];
    let source = ring::default_provider().secure_random;
    source.fill(&mut random).map_err(|_| anyhow!("the system provides no random numbers"))?;
    let key = format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(random));
    Ok(shown(&key, arguments))
}

fn shown(key: &str, arguments: &KeyArguments) -> String {
    let digest = SecretDigest::of(key.as_bytes()).hex();
    let names: Vec<_> = arguments.backends.iter().map(|name| format!("\"{name}\"")).collect();
    let backends = if names.is_empty() { "\"*\"".to_owned() } else { names.join(", ") };
    let may: Vec<_> = arguments.may.iter().map(|right| format!("\"{}\"", right.as_str())).collect();
    let may = may.join(", ");
    let expires = arguments.expires.map_or(String::new(), |end| format!("expires = \"{}\"\n", end.0));
    format!(
        "# The key, for its holder. It is shown only once: store it as a secret.\n\
         {key}\n\n\
         # For the configuration, which holds only the hash of the key:\n\
         [[api.keys]]\n\
         name = \"{}\"\n\
         key_sha256 = \"{digest}\"\n\
         backends = [{backends}]\n\
         may = [{may}]\n\
         {expires}",
        arguments.name
    )
}

fn name(text: &str) -> Result<String, &'static str> {
    let plain = |c: char| c.is_alphanumeric() || "-_.@ ".contains(c);
    let fits = !text.is_empty() && text.chars().all(plain);
    fits.then(|| text.to_owned()).ok_or("must consist of letters, digits, spaces and - _ . @")
}

fn right(name: &str) -> Result<Right, &'static str> {
    match name {
        "send" => Ok(Right::Send),
        "read" => Ok(Right::Read),
        _ => Err("must be send, read, or send,read"),
    }
}

fn moment(text: &str) -> Result<Moment, &'static str> {
    text.parse().map(Moment).map_err(|_| "must be a time with a time zone, such as 2026-12-01T00:00:00Z")
}
