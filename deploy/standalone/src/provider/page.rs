//! A provider's page in docs/providers, made from its file: what to set at the provider and in Postern, and
//! what works.

use super::{
    abilities::{self, Abilities},
    example::{self, ExampleSettings, PUBLIC_URL},
};
use postern_config::{About, InvalidConfig, ProviderRegistry, backend::BackendConfig};
use std::fmt::Write as _;

/// The page of the type `kind`, in Markdown.
///
/// # Errors
/// What is wrong with the type's file.
pub(super) fn page(providers: &ProviderRegistry, kind: &str) -> Result<String, InvalidConfig> {
    let backend = example::unset(providers, kind)?;
    let settings = ExampleSettings::new(providers, &backend.definition).lines();
    let about = providers.about(kind);
    let mut page = head(kind, about);
    if let Some(about) = about {
        let _ = writeln!(page, "\n## What to set at the provider\n\n{}", placed(&about.setup, &backend));
    }
    let _ = writeln!(page, "\n## What to set in Postern\n\n```toml\n{}```", table(kind, &settings));
    if abilities::needs_public_url(&backend) {
        let _ = writeln!(
            page,
            "\nAddresses that the provider is given, or signs, begin with `ingress.public_url`: set it to \
             the address that the provider calls, such as `public_url = \"{PUBLIC_URL}\"`."
        );
    }
    let abilities = Abilities::of(&backend, about);
    let _ = writeln!(page, "\n## What works\n\n| | |\n| --- | --- |\n{}", abilities.rows());
    let limits = about.and_then(|about| about.limits.as_deref());
    let derived = abilities.missing();
    if limits.is_some() || !derived.is_empty() {
        let _ = writeln!(page, "## Limits\n");
        for line in &derived {
            let _ = writeln!(page, "- {line}");
        }
        if let Some(limits) = limits {
            let gap = if derived.is_empty() || limits.starts_with("- ") { "" } else { "\n" };
            let _ = writeln!(page, "{gap}{}", placed(limits, &backend));
        }
    }
    Ok(page.trim_end().to_owned() + "\n")
}

/// The index of all pages.
///
/// # Errors
/// What is wrong with one of the types' files.
pub(super) fn index(providers: &ProviderRegistry) -> Result<String, InvalidConfig> {
    let mut page =
        "# Providers\n\nEach provider is a type: `type = \"NAME\"` in a `[backends.x]` table. Its \
                    page says what to set at the provider and in Postern, and what works; the page is \
                    generated from the provider's file in [`shared/providers`](../../shared/providers). If a \
                    provider is missing, see [Adding a provider](../guides/adding-a-provider.md). A dash means \
                    that there are no requests of this kind.\n\n\
                    | provider | type | delivery reports | requests are authenticated by | recipients per \
                    request |\n\
                    | --- | --- | --- | --- | --- |\n"
            .to_owned();
    for kind in providers.types() {
        let Some(about) = providers.about(kind) else { continue };
        let backend = example::unset(providers, kind)?;
        let abilities = Abilities::of(&backend, Some(about));
        let _ = writeln!(
            page,
            "| [{}]({kind}.md) | `{kind}` | {} | {} | {} |",
            about.title,
            abilities.reports_in_short(),
            abilities.proof_in_short(),
            abilities.recipients_in_short()
        );
    }
    Ok(page)
}

fn head(kind: &str, about: Option<&About>) -> String {
    let title = about.map_or(kind, |about| about.title.as_str());
    let mut head = format!("# {title}\n\n`type = \"{kind}\"`");
    let links = about.and_then(|about| about.documentation.as_ref()).map(|links| links.0.as_slice());
    if let Some([first, rest @ ..]) = links {
        let _ = write!(head, ". The provider's documentation: <{first}>");
        rest.iter().for_each(|link| {
            let _ = write!(head, ", <{link}>");
        });
    }
    head + "\n"
}

/// `text` with the addresses of `backend` in place of their placeholders.
fn placed(text: &str, backend: &BackendConfig) -> String {
    let (receive, status) = abilities::addresses(backend);
    text.trim().replace("{receive}", &receive).replace("{status}", &status)
}

fn table(kind: &str, settings: &str) -> String {
    let gap = if settings.is_empty() { String::new() } else { format!("\n[backends.{kind}.settings]\n") };
    format!("[backends.{kind}]\ntype = \"{kind}\"\n{gap}{settings}")
}
