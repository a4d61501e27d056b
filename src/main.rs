//! Parses, dispatches, prints the error chain.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    hypertransformer::compute::keep_freed_memory();
    cli::run()
}
