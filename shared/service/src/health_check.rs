//! `health`: asks a running program of Postern whether it is ready. The health checks of container images
//! call it, so an image needs no other program for them.

use crate::program::{self, Arguments, Exit, Program};
use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use postern_config::{Loader, NeededSecrets, ProviderRegistry};
use postern_shared::terminal;
use reqwest::{Client, redirect::Policy};
use std::time::Duration;
use url::Url;

/// How long the answer may take. Docker and Kubernetes are configured with more.
const PATIENCE: Duration = Duration::from_secs(4);
/// How much of an answer is shown, in characters.
const SHOWN: usize = 500;

/// The arguments of `health`.
#[derive(Debug, Clone, Args)]
pub struct HealthArguments {
    /// The URL to ask instead of the admin port in the configuration; /readyz is added if it has no path
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// Which certificate the asked port may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Certificate {
    /// A certificate that this machine trusts, for the name in the URL.
    Trusted,
    /// Any certificate: it is for the public name, not for the loopback address that is asked, and nothing
    /// secret is sent.
    Any,
}

/// Asks `/readyz` of `program`, at the admin port that `arguments` and the configuration name, or at the
/// URL of `wanted`. It needs no secret, and reads none.
///
/// # Errors
/// [`Exit::Failed`], for exit status 1 and one line: the program is not ready, does not answer, or the
/// configuration does not say where to ask.
pub async fn check(
    program: Program,
    arguments: &Arguments,
    wanted: &HealthArguments,
    providers: &ProviderRegistry,
) -> Result<(), Exit> {
    match &wanted.url {
        Some(text) => Ok(ask(given(text)?, Certificate::Trusted).await?),
        None => {
            let (url, hint) = configured(program, arguments, providers)?;
            let asked = ask(url, Certificate::Any).await;
            Ok(asked.map_err(|error| anyhow!("{error:#}{}", hint.unwrap_or_default()))?)
        }
    }
}

/// A hint at the other ports that `program` may use, if it has spare ports.
fn elsewhere(Program { name, admin, spare_admin_ports, .. }: Program) -> Option<String> {
    let last = admin.port().checked_add(spare_admin_ports)?;
    (spare_admin_ports > 0).then(|| {
        format!(
            "; without admin.listen, {name} uses the first free port up to {last}, which it logs as `admin` \
             in the line \"starting\": if it is another port, use --url http://HOST:PORT"
        )
    })
}

fn given(text: &str) -> anyhow::Result<Url> {
    let mut url: Url = text.parse().with_context(|| format!("--url {text}: allowed: http://HOST:PORT"))?;
    // A password would be shown with each answer.
    if !url.username().is_empty() || url.password().is_some() {
        bail!("--url: must not contain a user name or password: neither is needed");
    }
    if !matches!(url.scheme(), "http" | "https") {
        bail!("--url {text}: allowed: http://HOST:PORT or https://HOST:PORT");
    }
    if url.path() == "/" {
        url.set_path("/readyz");
    }
    Ok(url)
}

/// The URL of the admin port of `program` by the configuration, and what to add to an answer that it is not
/// ready.
fn configured(
    program: Program,
    arguments: &Arguments,
    providers: &ProviderRegistry,
) -> Result<(Url, Option<String>), anyhow::Error> {
    let loader = Loader::new(providers).needing(NeededSecrets::Of(&[]));
    let config = program::configuration_by(loader, arguments).map_err(|exit| match exit {
        Exit::Config(problems) => anyhow!("the configuration is invalid: {}", problems.replace('\n', "; ")),
        Exit::Failed(error) => error,
    })?;
    let is_said = arguments.admin_listen.or(config.admin.listen).is_some();
    let hint = if is_said { None } else { elsewhere(program) };
    let mut url: Url = arguments.admin_url(&config, program.admin).parse()?;
    if url.port() == Some(0) {
        bail!("the admin port is chosen when the program starts: use --url http://HOST:PORT");
    }
    url.set_path("/readyz");
    Ok((url, hint))
}

async fn ask(url: Url, certificate: Certificate) -> anyhow::Result<()> {
    // Fails if another part of the program has installed a provider, which is then used.
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[expect(
        clippy::disallowed_methods,
        reason = "follows no redirect and no proxy; the operator's own gateway"
    )]
    let builder = Client::builder().redirect(Policy::none()).no_proxy().timeout(PATIENCE);
    let builder = builder.tls_danger_accept_invalid_certs(certificate == Certificate::Any);
    let client = builder.build().context("cannot create the HTTP client")?;
    let answer = client.get(url.clone()).send().await.map_err(reqwest::Error::without_url);
    let mut answer = answer.with_context(|| format!("{url} does not answer"))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    // The beginning is enough: /readyz answers in one piece.
    let body = answer.chunk().await.ok().flatten().unwrap_or_default();
    let lines = String::from_utf8_lossy(&body);
    let lines: Vec<_> = lines.lines().filter(|line| !line.is_empty()).collect();
    let said: String = lines.join("; ").chars().take(SHOWN).collect();
    bail!("not ready: {url} answers {}: {}", status.as_u16(), terminal::plain(&said));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_without_a_path_means_readyz_and_one_with_a_path_itself() {
        for (text, asked) in [
            ("http://127.0.0.1:8081", "http://127.0.0.1:8081/readyz"),
            ("https://sms.example.org/", "https://sms.example.org/readyz"),
            ("http://127.0.0.1:8080/health", "http://127.0.0.1:8080/health"),
        ] {
            assert_eq!(given(text).unwrap().as_str(), asked);
        }
        for text in ["127.0.0.1:8081", "ftp://h/", "nonsense"] {
            assert!(given(text).unwrap_err().to_string().contains("allowed: http://HOST:PORT"), "{text}");
        }
        let why = given("http://u:hush@127.0.0.1:8081").unwrap_err().to_string();
        assert!(why.contains("user name or password") && !why.contains("hush"), "{why}");
    }

    #[test]
    fn a_program_with_spare_ports_may_be_at_another() {
        let providers = ProviderRegistry::builtin();
        let asked = |spare_admin_ports, admin_listen: Option<&str>| {
            let admin = "127.0.0.1:8082".parse().unwrap();
            let program = Program { name: "postern-dispatcher", version: "0", admin, spare_admin_ports };
            let admin_listen = admin_listen.map(|address| address.parse().unwrap());
            configured(program, &Arguments { config: None, admin_listen }, &providers).unwrap()
        };
        let (url, hint) = asked(16, None);
        assert_eq!(url.as_str(), "http://127.0.0.1:8082/readyz");
        let hint = hint.unwrap();
        assert!(hint.contains("postern-dispatcher uses the first free port up to 8098"), "{hint}");
        assert!(hint.contains("--url http://HOST:PORT"), "{hint}");
        assert_eq!(asked(16, Some("127.0.0.1:9000")).1, None, "that is where it is");
        assert_eq!(asked(0, None).1, None);
    }

    #[test]
    fn a_port_on_every_address_is_asked_on_loopback() {
        let program = Program {
            name: "postern",
            version: "0",
            admin: "127.0.0.1:8081".parse().unwrap(),
            spare_admin_ports: 0,
        };
        for (listens, asked) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")]
        {
            let arguments = Arguments { config: None, admin_listen: Some(listens.parse().unwrap()) };
            let (url, _) = configured(program, &arguments, &ProviderRegistry::builtin()).unwrap();
            assert_eq!(url.as_str(), format!("http://{asked}/readyz"));
        }
    }
}
