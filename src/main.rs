//! The program `hypertransformer`.

mod cli;
mod platform;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
