//! Commands in documents: they are run as printed, and their output is compared.

use postern_tests::Program;
use std::process::Command;

/// A command in a document, and the output that the document shows.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) prints: Vec<String>,
}

/// The lines `$ command` in indented blocks, each with the lines up to the next command or the end of the block.
pub(crate) fn steps(section: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut open = false;
    let mut lines = section.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(line) = line.strip_prefix("    ") else {
            // A blank line belongs to the block if the block continues after it.
            let goes_on = line.is_empty() && lines.peek().is_some_and(|next| next.starts_with("    "));
            if open && goes_on && !lines.peek().is_some_and(|next| next.starts_with("    $ ")) {
                steps.last_mut().unwrap().prints.push(String::new());
            } else {
                open = false;
            }
            continue;
        };
        if let Some(command) = line.strip_prefix("$ ") {
            let mut command = command.to_owned();
            while command.ends_with('\\') {
                command.pop();
                command.push_str(lines.next().expect("a command goes on").trim_start());
            }
            steps.push(Step { command, prints: Vec::new() });
            open = true;
        } else if open {
            steps.last_mut().unwrap().prints.push(line.to_owned());
        }
    }
    steps
}

pub(crate) fn shell(command: &str) -> String {
    let output = Command::new("bash").args(["-c", command]).output().expect("bash runs");
    String::from_utf8(output.stdout).unwrap()
}

/// Compares line by line; `…` in a document stands for any text.
pub(crate) fn assert_prints(step: &Step, printed: &str) {
    assert!(step.is_printed(printed), "{step:?} printed {printed}");
}

impl Step {
    /// Whether `printed` matches the document.
    pub(crate) fn is_printed(&self, printed: &str) -> bool {
        let printed: Vec<&str> = printed.trim_end().lines().collect();
        let lines = printed.iter().zip(&self.prints);
        printed.len() == self.prints.len()
            && lines.into_iter().all(|(line, promised)| is_like(line, promised))
    }
}

fn is_like(line: &str, promised: &str) -> bool {
    let mut rest = line;
    for (index, part) in promised.split('…').enumerate() {
        match rest.find(part) {
            Some(at) if index > 0 || at == 0 => rest = &rest[at + part.len()..],
            _ => return false,
        }
    }
    rest.is_empty() || promised.ends_with('…')
}

/// A fenced block of a document that begins with ```` ```LANGUAGE TITLE ````.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) title: String,
    pub(crate) text: String,
}

/// The fenced blocks of `document`, in order.
pub(crate) fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let Some(info) = line.strip_prefix("```") else { continue };
        let (language, title) = info.split_once(' ').unwrap_or((info, ""));
        let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        let text = inside.join("\n");
        blocks.push(Block { language: language.to_owned(), title: title.to_owned(), text });
    }
    blocks
}

impl Block {
    /// The commands of a block that shows a terminal session.
    pub(crate) fn steps(&self) -> Vec<Step> {
        steps(&self.text.lines().map(|line| format!("    {line}\n")).collect::<String>())
    }
}

/// `text` with the ports of `program` instead of the default ones.
pub(crate) fn at_ports(text: &str, program: &Program) -> String {
    let public = program.url().rsplit(':').next().unwrap().to_owned();
    text.replace(":8080", &format!(":{public}")).replace(":8081", &format!(":{}", program.admin_port()))
}
