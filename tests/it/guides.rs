//! The guides, followed as a reader follows them: every code block is written, run or compared.
//!
//! | block | what is done |
//! | --- | --- |
//! | `toml NAME` | becomes the configuration `NAME`, which `check` must accept |
//! | any, `PATH/NAME` | must be in that file of this repository; `postern.toml` is a configuration, too |
//! | `console` | its commands are run, and their output compared |
//! | `http provider`, `http application` | must be the next request that the provider or the application gets |

use crate::{
    printed::{Block, Step, assert_prints, at_ports, blocks, shell},
    providers::written,
};
use postern_tests::{Answer, Ended, Launch, Program, Provider, Request, eventually};
use serde_json::json;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// The environment variables that the guides set.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("ACME_API_KEY", "hush"),
    ("KANNEL_PASSWORD", "hush"),
    ("RAPIDSMS_PASSWORD", "quiet-and-long-enough"),
    ("POSTERN_API_KEY", KEY),
];
/// The application's key.
const KEY: &str = "hush-key-of-the-application";
/// The program of `deploy/examples/custom`, as its guide starts it.
const CUSTOM: &str = "cargo run -p postern-example-custom --";

/// A reader with a provider at port 9009 and an application at port 8000.
struct Reader {
    provider: Provider,
    application: Provider,
    /// The program with the last configuration, ready to be started.
    launch: Launch,
    running: Option<Program>,
}

impl Reader {
    async fn follow(guide: &str) {
        let text = std::fs::read_to_string(format!("{ROOT}/docs/guides/{guide}.md")).unwrap();
        let (provider, application) = (Provider::start().await, Provider::obliging().await);
        provider.otherwise(answer);
        let mut reader = Self { provider, application, launch: Launch::gateway(), running: None };
        let blocks = blocks(&text);
        assert!(blocks.len() > 3, "{guide} has hardly any block");
        for block in &blocks {
            eprintln!("--- {guide}: ```{} {}", block.language, block.title);
            reader.take(block).await;
        }
        assert!(reader.provider.requests().is_empty(), "requests that the guide does not show");
        let checklist = text.rsplit("## Checklist").next().unwrap();
        let points = checklist.lines().filter(|line| line.starts_with("- [ ] ")).count();
        assert!(text.contains("\n## Checklist\n") && points > 3, "{guide} ends in a checklist");
    }

    async fn take(&mut self, block: &Block) {
        let Block { language, title, text } = block;
        if title.contains('/') {
            is_in_file(title, text);
        }
        match (language.as_str(), title.rsplit('/').next().unwrap_or_default()) {
            ("toml", "postern.toml") => self.configure(text).await,
            ("toml" | "rust", _) if title.contains('/') => {}
            ("console", "") => {
                for step in block.steps() {
                    self.run(&step).await;
                }
            }
            ("http", "provider") => is_shown(text, &self.provider.take().await),
            ("http", "application") => is_shown(text, &self.application.take().await),
            _ => panic!("nothing is done with ```{language} {title}"),
        }
    }

    async fn configure(&mut self, toml: &str) {
        self.running = None;
        let program = if toml.contains("outbox") { "postern-example-custom" } else { "postern" };
        // With `providers = `, it belongs to the file that was written before.
        let goes_on = toml.contains("providers = ");
        let launch = if goes_on { self.launch.clone() } else { Launch::program(program) };
        let toml = self.here(toml).replace("/tmp", &launch.folder().path().display().to_string());
        let environment = ENVIRONMENT.into_iter();
        self.launch = environment.fold(launch.config(&toml), |launch, (name, value)| launch.env(name, value));
        let Ended { code, log, .. } = self.launch.clone().arg("check").run().await;
        assert_eq!(code, Some(0), "{log}");
    }

    /// `text` with this test's addresses.
    fn here(&self, text: &str) -> String {
        text.replace("http://127.0.0.1:9009", &self.provider.url(""))
            .replace("http://127.0.0.1:8000", &self.application.url(""))
    }

    async fn run(&mut self, step: &Step) {
        let folder = format!("{}/", self.launch.folder().path().display());
        let command = step.command.replace(CUSTOM, "postern").replace("$POSTERN_API_KEY", KEY);
        if let Some(arguments) = command.strip_prefix("postern provider ") {
            let launch = self.launch.clone().arg("provider");
            let Ended { out, log, .. } = arguments.split(' ').fold(launch, Launch::arg).run().await;
            assert_prints(step, &(out + &log).replace(&folder, ""));
        } else if let Some(arguments) = command.strip_prefix("postern check ") {
            assert!(arguments.starts_with("--config ") && arguments.ends_with("postern.toml"), "{step:?}");
            let Ended { out, log, .. } = self.launch.clone().arg("check").run().await;
            assert_prints(step, &(out + &log).replace(&folder, ""));
        } else if command.starts_with("postern --config ") && command.ends_with('&') {
            assert!(step.prints.is_empty(), "{step:?}");
            self.running = Some(self.launch.start().await);
        } else {
            let running = self.running.as_ref().unwrap_or_else(|| panic!("{step:?}: nothing runs"));
            let command = at_ports(&command, running).replace("/tmp/", &folder);
            let looks = ["/metrics", "/v1/backends"].iter().any(|path| command.contains(path));
            if command.starts_with("curl ") && !looks {
                assert_prints(step, &shell(&command));
            } else {
                // What the command shows may still be on its way.
                let printed = eventually(&command, async || {
                    let printed = shell(&command);
                    if step.is_printed(&printed) { Ok(printed) } else { Err(printed) }
                });
                assert_prints(step, &printed.await);
            }
        }
    }
}

/// Checks that the whole lines of `text` are in that file of the repository, one after the other.
fn is_in_file(path: &str, text: &str) {
    let file = std::fs::read_to_string(format!("{ROOT}/{path}")).unwrap_or_else(|e| panic!("{path}: {e}"));
    assert!(format!("\n{file}\n").contains(&format!("\n{text}\n")), "{path} does not have\n{text}");
}

fn is_shown(text: &str, request: &Request) {
    let shown = Step { command: "a request".to_owned(), prints: text.lines().map(str::to_owned).collect() };
    assert_prints(&shown, &written(request));
}

/// The answers of the providers in the guides.
fn answer(request: &Request) -> Answer {
    match request.path.as_str() {
        "/version1/messaging" => {
            let one = json!({"statusCode": 101, "status": "Success", "messageId": "ATXid_1"});
            Answer::json(201, &json!({"SMSMessageData": {"Recipients": [one]}}))
        }
        "/messages" => Answer::json(201, &json!({"id": "p-1"})),
        "/cgi-bin/sendsms" => Answer::status(202).body("0: Accepted for delivery"),
        _ => Answer::json(200, &json!({"message_id": "V1"})),
    }
}

#[tokio::test]
async fn adding_a_provider() {
    Reader::follow("adding-a-provider").await;
}

#[tokio::test]
async fn adding_a_backend_in_rust() {
    Reader::follow("adding-a-backend-in-rust").await;
}

#[tokio::test]
async fn moving_from_rapidsms() {
    Reader::follow("moving-from-rapidsms").await;
}

#[test]
fn kannels_get_url_is_the_providers_files() {
    let file = std::fs::read_to_string(format!("{ROOT}/shared/providers/kannel.toml")).unwrap();
    let (_, query) = file.split_once("{receive}?").expect("the file has a get-url");
    let (query, _) = query.split_once('"').unwrap();
    assert!(query.contains("external_id=%I"), "{query}");
    let guide = std::fs::read_to_string(format!("{ROOT}/docs/guides/moving-from-rapidsms.md")).unwrap();
    assert!(
        guide.contains(&format!("/backends/kannel?{query}`")),
        "the guide's get-url lacks some of {query}"
    );
}

#[test]
fn no_guide_is_left_out_and_the_readme_names_them() {
    let readme = std::fs::read_to_string(format!("{ROOT}/README.md")).unwrap();
    let mut guides: Vec<_> = std::fs::read_dir(format!("{ROOT}/docs/guides"))
        .unwrap()
        .map(|guide| guide.unwrap().file_name().into_string().unwrap())
        .collect();
    guides.sort();
    assert_eq!(guides, ["adding-a-backend-in-rust.md", "adding-a-provider.md", "moving-from-rapidsms.md"]);
    for guide in guides {
        assert!(readme.contains(&format!("(docs/guides/{guide})")), "{guide}");
    }
}
