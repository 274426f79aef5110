//! `postern provider`: what is known of providers, and what one needs to add one.

mod abilities;
mod example;
mod page;

use crate::greeting;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use postern_config::ProviderRegistry;
use postern_service::program::Exit;
use std::path::{Path, PathBuf};

/// What is done with providers.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Action {
    /// Print a provider's page: what to set there and here, and what works
    Show(ShowArguments),
    /// Write the pages of the built-in providers, and their index: docs/providers
    #[command(hide = true)]
    Pages {
        /// The folder to write them into
        folder: PathBuf,
    },
}

/// What `postern provider show` is told.
#[derive(Debug, Clone, Args)]
pub(crate) struct ShowArguments {
    /// A built-in type, such as twilio, or a provider's file
    provider: String,
}

/// Does it.
///
/// # Errors
/// [`Exit::Config`] with what is wrong with a file; else what could not be written.
pub(crate) fn run(action: &Action, providers: ProviderRegistry) -> Result<(), Exit> {
    match action {
        Action::Show(ShowArguments { provider }) => {
            let (providers, kind) = named(providers, provider)?;
            Ok(greeting::print(&page::page(&providers, &kind).map_err(wrong)?)?)
        }
        Action::Pages { folder } => pages(&providers, folder),
    }
}

/// The type that is meant by `name`: a built-in one, or that of the file which is there.
fn named(providers: ProviderRegistry, name: &str) -> Result<(ProviderRegistry, String), Exit> {
    let is_file = name.contains(['/', '.']);
    if !is_file && providers.types().any(|kind| kind == name) {
        return Ok((providers, name.to_owned()));
    }
    if !is_file {
        let known = providers.known_types();
        return Err(Exit::Config(format!("{name}: no such type, and no file; types: {known}")));
    }
    providers.with_file(Path::new(name)).map_err(wrong)
}

fn wrong(invalid: postern_config::InvalidConfig) -> Exit {
    Exit::Config(invalid.to_string())
}

fn pages(providers: &ProviderRegistry, folder: &Path) -> Result<(), Exit> {
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    };
    for kind in providers.types() {
        write(&format!("{kind}.md"), page::page(providers, kind).map_err(wrong)?)?;
    }
    Ok(write("README.md", page::index(providers).map_err(wrong)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where the pages are.
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
