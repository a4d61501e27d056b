//! How a command ends: its exit code, and how its error is printed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use hypertransformer::base::interrupt::INTERRUPTED;
use hypertransformer::pack::error::DataError;
use hypertransformer::report::console::{OutputError, say};
use hypertransformer::run::sweep::grid::GridError;
use hypertransformer::settings::file::ConfigError;

use crate::cli::panics::print_panics_briefly;

/// What separates the advice in the text of an error from the fault itself.
const HINT: &str = "\nhint: ";

/// Runs a command and prints its error. Exit codes: 0 success, 1 failure, 2 usage or configuration, 130
/// interrupted, 141 nobody reads the result.
pub(super) fn run(command: impl FnOnce() -> anyhow::Result<ExitCode>) -> ExitCode {
    print_panics_briefly();
    match catch_unwind(AssertUnwindSafe(command)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            if !nobody_reads(&error) {
                print(&error);
            }
            exit_code(&error)
        }
        Err(_) => ExitCode::FAILURE,
    }
}

/// Whether the reader of the result has seen enough, as `| head` does. A shell reports such a program with code 141.
fn nobody_reads(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(OutputError::NoReader))
}

fn exit_code(error: &anyhow::Error) -> ExitCode {
    if let Some(DataError::Interrupted) = error.downcast_ref() {
        ExitCode::from(INTERRUPTED)
    } else if nobody_reads(error) {
        ExitCode::from(141)
    } else if error.downcast_ref::<ConfigError>().is_some()
        || error.downcast_ref::<GridError>().is_some()
    {
        ExitCode::from(2)
    } else {
        ExitCode::FAILURE
    }
}

/// Prints an error on stderr: the error, its causes, then the hints of all of them.
pub(super) fn print(error: &anyhow::Error) {
    say(text(error).trim_end());
}

fn text(error: &anyhow::Error) -> String {
    let (mut lines, mut hints) = (String::new(), String::new());
    let mut printed = String::new();
    for message in error.chain().map(ToString::to_string) {
        let (fault, hint) = match message.split_once(HINT) {
            Some((fault, hint)) => (fault.to_owned(), Some(format!("hint: {hint}\n"))),
            None => (message, None),
        };
        if lines.is_empty() {
            lines = format!("error: {fault}\n");
        } else if !printed.contains(&fault) {
            // A transparent wrapper has the text of its cause.
            lines += &format!("  caused by: {fault}\n");
        }
        printed = fault;
        if let Some(hint) = hint.filter(|hint| !hints.contains(hint)) {
            hints += &hint;
        }
    }
    lines + &hints
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn an_error_is_printed_with_its_causes_and_then_its_hint() {
        let error = anyhow!("disk full")
            .context("could not write a.json\nhint: free some space")
            .context("no card");
        let expected = "error: no card\n  caused by: could not write a.json\n  caused by: disk full\n\
                        hint: free some space\n";
        assert_eq!(text(&error), expected);
    }
}
