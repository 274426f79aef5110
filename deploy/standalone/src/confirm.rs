//! Asks a person at a terminal before something is done that cannot be undone.

use postern_service::program::Exit;
use std::io::{IsTerminal, Write, stderr, stdin};

/// Whether a person can be asked: they see the question, and type the answer.
pub(crate) fn can_ask() -> bool {
    stdin().is_terminal() && stderr().is_terminal()
}

/// Asks `question` on stderr, and reads whether the answer is yes.
///
/// # Errors
/// The answer cannot be read.
pub(crate) async fn is_confirmed(question: &str) -> Result<bool, Exit> {
    say(&format!("{question} [y/N] "));
    let read = || {
        let mut answer = String::new();
        stdin().read_line(&mut answer).map(|_| answer)
    };
    let answer = tokio::task::spawn_blocking(read).await??;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Writes to stderr. If it is closed, there is nobody to tell.
pub(crate) fn say(text: &str) {
    let _ = stderr().write_all(text.as_bytes());
}
