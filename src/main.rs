//! The program `hypertransformer`.

// `report::console` prints.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;
mod platform;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
