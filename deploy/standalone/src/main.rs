//! `postern`: the whole gateway in one process.

use postern::Gateway;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    Gateway::new().main()
}
