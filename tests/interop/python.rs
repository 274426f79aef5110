//! The Python environments that tests/run has made for these tests.

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Packages that are installed together.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Environment {
    /// All packages except Jasmin's.
    Interop,
    /// Jasmin's packages, which are older.
    Jasmin,
}

impl Environment {
    /// The path of its Python: `tests/run` makes a folder for each content of requirements.txt.
    pub(crate) fn interpreter(self) -> PathBuf {
        let (name, list) = match self {
            Self::Interop => ("interop", "interop/requirements.txt"),
            Self::Jasmin => ("jasmin", "interop/jasmin/requirements.txt"),
        };
        let wanted = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(list)).unwrap();
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let hash: String = Sha256::digest(wanted).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let python = target.join(name).join(hash).join("bin/python");
        assert!(python.exists(), "{} is not there: tests/run --only interop makes it", python.display());
        python
    }

    /// A command that runs a script of this folder. Compiled files are kept with the interpreter.
    pub(crate) fn script(self, name: &str) -> Command {
        let interpreter = self.interpreter();
        let compiled = interpreter.parent().unwrap().join("../compiled");
        let mut command = Command::new(interpreter);
        command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("interop").join(name));
        command.env_remove("PYTHONDONTWRITEBYTECODE").env("PYTHONPYCACHEPREFIX", compiled);
        command.env("PYTHONUNBUFFERED", "1");
        command
    }
}

/// The path of the Python for everything except Jasmin.
pub(crate) fn interpreter() -> PathBuf {
    Environment::Interop.interpreter()
}

/// A command that runs a script of this folder with [`interpreter`].
pub(crate) fn script(name: &str) -> Command {
    Environment::Interop.script(name)
}

/// Writes `question` to a script as JSON, and returns the JSON that it answers.
pub(crate) async fn ask(name: &str, question: &Value) -> Value {
    let mut command = script(name);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (name, question) = (name.to_owned(), question.to_string());
    let answer = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(question.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    });
    let answer = answer.await.unwrap();
    let log = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success(), "{name}: {log}");
    serde_json::from_slice(&answer.stdout).unwrap_or_else(|e| panic!("{name}: {e}: {log}"))
}
