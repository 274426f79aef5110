//! `postern provider`, which shows what is known about providers, and helps to add one.

mod abilities;
mod example;
mod new;
mod page;
mod recorded;
mod tried;

use crate::greeting;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use postern_config::ProviderRegistry;
use postern_ingress::forms::Forms;
use postern_service::program::Exit;
use std::path::{Path, PathBuf};

/// The actions of `postern provider`.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ProviderAction {
    /// Create the files of a new provider: a definition with comments, and requests to try it with
    New(new::NewArguments),
    /// Show how recorded requests are read, what a send request looks like, and how answers are classified
    ///
    /// It uses the functions of the running gateway. Nothing is sent and nothing is stored. Secrets are not
    /// shown.
    Try(tried::TryArguments),
    /// Print a provider's page: what to set at the provider and in Postern, and what works
    Show(ShowArguments),
    /// Write the pages of the built-in providers and their index (docs/providers)
    #[command(hide = true)]
    Pages {
        /// The folder to write them into
        folder: PathBuf,
    },
}

/// The options of `postern provider show`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ShowArguments {
    /// A built-in type, such as twilio, or a provider's file
    provider: String,
}

/// Carries out `action`.
///
/// # Errors
/// [`Exit::Config`] with what is wrong with a file; else what could not be written.
pub(crate) async fn run(
    action: &ProviderAction,
    providers: ProviderRegistry,
    forms: &Forms,
) -> Result<(), Exit> {
    match action {
        ProviderAction::New(arguments) => new::run(arguments),
        ProviderAction::Try(arguments) => {
            Ok(greeting::print(&tried::shown(arguments, providers, forms).await?)?)
        }
        ProviderAction::Show(ShowArguments { provider }) => {
            let (providers, kind) = named(providers, provider)?;
            Ok(greeting::print(&page::page(&providers, &kind).map_err(|invalid| wrong(&invalid))?)?)
        }
        ProviderAction::Pages { folder } => pages(&providers, folder),
    }
}

/// The type that `name` means: a built-in type, or the type that the file at this path defines.
fn named(providers: ProviderRegistry, name: &str) -> Result<(ProviderRegistry, String), Exit> {
    let is_file = name.contains(['/', '.']);
    if !is_file && providers.types().any(|kind| kind == name) {
        return Ok((providers, name.to_owned()));
    }
    if !is_file {
        let known = providers.known_types();
        return Err(Exit::Config(format!("{name}: neither a file nor a known type; types: {known}")));
    }
    providers.with_file(Path::new(name)).map_err(|invalid| wrong(&invalid))
}

fn wrong(invalid: &postern_config::InvalidConfig) -> Exit {
    Exit::Config(invalid.to_string())
}

fn pages(providers: &ProviderRegistry, folder: &Path) -> Result<(), Exit> {
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    };
    for kind in providers.types() {
        write(&format!("{kind}.md"), page::page(providers, kind).map_err(|invalid| wrong(&invalid))?)?;
    }
    Ok(write("README.md", page::index(providers).map_err(|invalid| wrong(&invalid))?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    /// The command line as a user types it.
    #[derive(Parser)]
    struct Typed {
        #[command(subcommand)]
        action: ProviderAction,
    }

    fn typed(words: &str) -> ProviderAction {
        Typed::parse_from(std::iter::once("provider").chain(words.split(' '))).action
    }

    /// What `postern provider try` prints.
    async fn tried(words: &str) -> Result<String, Exit> {
        let ProviderAction::Try(arguments) = typed(words) else { panic!("{words}") };
        tried::shown(&arguments, ProviderRegistry::builtin(), &Forms::builtin()).await
    }

    /// Each kind of skeleton must be able to read its own requests.
    #[tokio::test]
    async fn a_new_provider_of_each_kind_can_be_tried_and_used_at_once() {
        let says = [
            (
                "form",
                &["identity      +254711000001", "text          Habari & karibu", "fields.to     22384"][..],
            ),
            ("json", &["external_id   m-1", "reason        permanent absent"]),
            ("list", &["text          Asante", "fields.account"]),
            (
                "one-address",
                &["answered as a handshake", "answered 200 1158201444", "state         undelivered"],
            ),
            ("signed", &["text          Habari & karibu", "answered 200 OK"]),
        ];
        for (kind, says) in says {
            let folder = tempfile::tempdir().unwrap();
            let dir = folder.path().display();
            let new = typed(&format!("new acme --kind {kind} --dir {dir}"));
            let run = async || run(&new, ProviderRegistry::builtin(), &Forms::builtin()).await;
            run().await.unwrap_or_else(|exit| panic!("{kind}: {exit:?}"));
            let Err(Exit::Config(why)) = run().await else { panic!("{kind}: overwritten") };
            assert!(why.contains("not overwritten"), "{why}");
            let shown = tried(&format!("try {dir}/acme.toml"))
                .await
                .unwrap_or_else(|exit| panic!("{kind}: {exit:?}"));
            let always = [
                "a delivery report",
                "POST https://api.example.com/messages\n  authorization: Bearer [REDACTED]\n",
                "sent; the provider's id is p-1",
                "not sent: permanent invalid_number",
            ];
            for part in says.iter().chain(&always) {
                assert!(shown.contains(part), "{kind}: {part:?} is not in\n{shown}");
            }
            assert!(!shown.contains("refused") && !shown.contains("made-up"), "{kind}:\n{shown}");
            let known = ProviderRegistry::builtin();
            let loader = postern_config::Loader::new(&known);
            let secret = "verify_token = \"t\"\nwebhook_secret = \"s\"\n";
            let config = format!(
                "providers = \"{dir}\"\n[backends.a]\ntype = \"acme\"\n[backends.a.settings]\napi_key = \"k\"\n{secret}"
            );
            assert!(loader.parse(kind, Some(&config), []).is_ok(), "{kind}");
        }
    }

    #[tokio::test]
    async fn what_is_refused_is_said_field_by_field_and_what_is_wrong_with_a_file_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let request = write(
            "wrong.http",
            "POST /hook HTTP/1.1\nContent-Type: application/x-www-form-urlencoded\n\nid=b1\n",
        );
        let shown = tried(&format!("try africastalking --requests {request} --to 1,2")).await.unwrap();
        for part in [
            "refused (form)",
            "answered 400 form failed to validate",
            "\n    from: This field is required.",
            "a message to 1,2 is refused",
        ] {
            assert!(shown.contains(part), "{part:?} is not in\n{shown}");
        }
        let unsigned = write("unsigned.http", "POST /hook HTTP/1.1\nContent-Type: application/json\n\n{}\n");
        let shown = tried(&format!("try whatsapp --requests {unsigned}")).await.unwrap();
        assert!(shown.contains("refused (unsigned)\n  answered 403"), "{shown}");
        let rows = "[[row]]\nname = \"a message\"\nrequest = \"GET /backends/kannel?id=%2B1&text=hi\"\n";
        let shown = tried(&format!("try kannel --requests {}", write("rows.toml", rows))).await.unwrap();
        assert!(
            shown.contains("rows.toml: a message: GET /backends/kannel\n  a message\n    identity      +1\n"),
            "{shown}"
        );
        let mistaken = write("mistaken.toml", "connector = \"http\"\n[receive]\nmethds = []\n");
        for (words, says) in [
            (format!("try {mistaken}"), "mistaken.toml, line 3)"),
            ("try acme".to_owned(), "neither a file nor a known type; types: 46elks, africastalking"),
            (
                format!("try kannel --requests {}", write("none.http", "hello")),
                "a request begins like POST /path",
            ),
        ] {
            match tried(&words).await {
                Err(Exit::Config(why)) => assert!(why.contains(says), "{words}: {why}"),
                other => panic!("{words}: {other:?}"),
            }
        }
    }

    /// The folder of the providers' pages.
    const PAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/providers");

    #[test]
    fn the_pages_are_as_their_providers_files_say() {
        let folder = tempfile::tempdir().unwrap();
        pages(&ProviderRegistry::builtin(), folder.path()).unwrap();
        let names = |folder: &Path| {
            let mut names: Vec<_> =
                std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let anew = "make them anew: cargo run -- provider pages docs/providers";
        assert_eq!(names(folder.path()), names(Path::new(PAGES)), "{anew}");
        for name in names(folder.path()) {
            let read = |folder: &Path| std::fs::read_to_string(folder.join(&name)).unwrap();
            assert!(read(folder.path()) == read(Path::new(PAGES)), "{}: {anew}", name.display());
        }
    }

    #[test]
    fn every_page_has_an_example_that_can_be_checked() {
        let providers = ProviderRegistry::builtin();
        for kind in providers.types() {
            let page = page::page(&providers, kind).unwrap();
            let example = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
            let loader = postern_config::Loader::new(&providers);
            let loader = loader.needing(postern_config::NeededSecrets::Of(&[]));
            let text =
                format!("{example}[ingress]\npublic_url = \"https://h\"\n[api]\nlisten = \"127.0.0.1:0\"\n");
            assert!(loader.parse(kind, Some(&text), []).is_ok(), "{kind}:\n{example}");
        }
    }
}
