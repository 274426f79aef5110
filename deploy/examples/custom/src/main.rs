//! A gateway with a backend and a form of one's own; the command line is `postern`'s.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    Ok(postern_example_custom::gateway()?.main())
}
