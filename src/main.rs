//! Parses, dispatches, prints the error chain.

mod allocator;
mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
