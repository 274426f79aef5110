//! A gateway with custom connectors and a custom form; its command line is that of `postern`.

use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    Ok(postern_example_custom::gateway()?.main())
}
