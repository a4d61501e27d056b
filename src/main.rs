//! Parses, dispatches, prints the error chain.

mod cli;
mod platform;
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
