//! `postern`: the whole gateway in one process.

use postern::Gateway;
use std::process::ExitCode;

fn main() -> ExitCode {
    Gateway::new().main()
}
