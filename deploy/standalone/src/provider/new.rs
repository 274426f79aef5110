//! `postern provider new`, which writes the first files of a new provider.

use crate::greeting;
use clap::{Args, ValueEnum};
use postern_service::program::Exit;
use postern_shared::message::BackendName;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// The options of `postern provider new`.
#[derive(Debug, Clone, Args)]
pub(crate) struct NewArguments {
    /// The name of the new type: a-z 0-9 - _
    name: BackendName,
    /// How the provider delivers messages
    #[arg(long, value_enum, default_value_t = Kind::Form)]
    kind: Kind,
    /// The folder to write into; the configuration names it with providers = "DIR"
    #[arg(long, value_name = "DIR", default_value = "providers")]
    dir: PathBuf,
}

/// How a provider delivers messages and delivery reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// One message per request, as a form
    Form,
    /// One message per request, as JSON
    Json,
    /// Several messages per request, as a list in JSON
    List,
    /// Messages, reports and anything else at one address, as JSON
    OneAddress,
    /// One message per request, as JSON with a signature
    Signed,
}

/// The placeholder for the type's name in a skeleton.
const NAME: &str = "NAME";

impl Kind {
    /// The part of the definition that says how requests are read.
    fn receiving(self) -> &'static str {
        match self {
            Self::Form => include_str!("skeleton/form.toml"),
            Self::Json => include_str!("skeleton/json.toml"),
            Self::List => include_str!("skeleton/list.toml"),
            Self::OneAddress => include_str!("skeleton/one-address.toml"),
            Self::Signed => include_str!("skeleton/signed.toml"),
        }
    }

    /// The setting that requests are authenticated by, what it is, and a made-up value.
    fn secret(self) -> Option<[&'static str; 3]> {
        match self {
            Self::Signed => {
                Some(["webhook_secret", "The secret with which requests are signed.", "made-up-secret"])
            }
            Self::OneAddress => {
                Some(["verify_token", "A text of your choice, the same as at the provider.", "made-up-token"])
            }
            Self::Form | Self::Json | Self::List => None,
        }
    }

    /// The example requests, each with its file's name.
    fn requests(self) -> Vec<(&'static str, &'static str)> {
        macro_rules! pair {
            ($kind:literal) => {
                vec![
                    ("message.http", include_str!(concat!("skeleton/", $kind, "-message.http"))),
                    ("report.http", include_str!(concat!("skeleton/", $kind, "-report.http"))),
                ]
            };
        }
        match self {
            Self::Form => pair!("form"),
            Self::Json => pair!("json"),
            Self::List => pair!("list"),
            Self::OneAddress => {
                let mut requests = pair!("one-address");
                requests.push(("handshake.http", include_str!("skeleton/one-address-handshake.http")));
                requests
            }
            Self::Signed => pair!("signed"),
        }
    }

    fn definition(self, name: &str) -> String {
        let (mut required, mut line) = ("\"api_key\"".to_owned(), String::new());
        if let Some([setting, what, _]) = self.secret() {
            required += &format!(", \"{setting}\"");
            line = format!("{setting} = \"{what}\"\n");
        }
        let body = if self == Self::Form { "form" } else { "json" };
        let head = include_str!("skeleton/head.toml").replace("REQUIRED", &required).replace("SECRET", &line);
        let send = include_str!("skeleton/send.toml").replace("BODY", body);
        format!("{head}{}{send}", self.receiving()).replace(NAME, name)
    }

    fn settings(self) -> String {
        let mut settings =
            "# Made-up settings, for `postern provider try`. A signed request needs the secret with which it \
                            was signed.\napi_key = \"made-up-key\"\n"
                .to_owned();
        if let Some([setting, _, value]) = self.secret() {
            settings += &format!("{setting} = \"{value}\"\n");
        }
        settings
    }
}

/// Writes the files, and prints what to do next. If one of the files exists, nothing is written.
///
/// # Errors
/// [`Exit::Config`] if one of the files exists or cannot be written.
pub(super) fn run(NewArguments { name, kind, dir }: &NewArguments) -> Result<(), Exit> {
    let name = name.as_str();
    let (file, folder) = (dir.join(format!("{name}.toml")), dir.join(name));
    for there in [&file, &folder] {
        if there.exists() {
            let why = format!("{} exists already and is not overwritten: use another name", there.display());
            return Err(Exit::Config(why));
        }
    }
    let wrong = |path: &Path, error: io::Error| Exit::Config(format!("{}: {error}", path.display()));
    fs::create_dir_all(&folder).map_err(|error| wrong(&folder, error))?;
    let answers = [
        ("answer.http", include_str!("skeleton/answer.http")),
        ("refusal.http", include_str!("skeleton/refusal.http")),
    ];
    let settings = kind.settings();
    let mut files = vec![(file.clone(), kind.definition(name)), (folder.join("settings.toml"), settings)];
    for (beside, text) in kind.requests().into_iter().chain(answers) {
        files.push((folder.join(beside), text.replace(NAME, name)));
    }
    for (path, text) in &files {
        write(path, text).map_err(|error| wrong(path, error))?;
    }
    let (file, folder) = (file.display(), folder.display());
    Ok(greeting::print(&format!(
        "{file}: the definition; its comments say what to fill in\n\
         {folder}/: made-up requests and answers; replace them with recorded ones\n\n\
         Try it:\n\x20 postern provider try {file}\n\
         Use it: add to the top of the configuration\n\x20 providers = \"{}\"\nand declare a backend of the \
         type \"{name}\".\n",
        dir.display()
    ))?)
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(text.as_bytes())
}
