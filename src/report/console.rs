//! Lines for the user: messages on stderr, which cannot fail, and results on stdout, which can.

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};

use thiserror::Error;

/// A result that could not be printed.
#[derive(Debug, Error)]
pub enum OutputError {
    /// The reader has closed the pipe, as `| head` does. That is no fault.
    #[error("the reader of standard output has closed it")]
    NoReader,
    /// It could not be written, e.g. because a disk is full.
    #[error("could not write the result to standard output")]
    Write(#[source] io::Error),
}

/// Prints a message on stderr. Work must not end because nobody reads its messages, so errors are ignored: the terminal
/// may be gone, or the disk under a log full.
pub fn say(message: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{message}");
}

/// Prints a line of a command's result on stdout.
///
/// # Errors
/// If it cannot be written.
pub fn tell(line: impl Display) -> Result<(), OutputError> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")
        .and_then(|()| output.flush())
        .map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => OutputError::NoReader,
            _ => OutputError::Write(error),
        })
}
