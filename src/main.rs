//! Parses, dispatches, prints the error chain.

mod allocator;
mod cli;
mod matrix_products;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
