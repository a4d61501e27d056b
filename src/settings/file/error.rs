//! Errors in an experiment.

use std::path::PathBuf;

use thiserror::Error;

/// Errors in an experiment.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("could not read the experiment {0}")]
    Read(PathBuf, #[source] std::io::Error),
    /// A file is not valid YAML, or not a mapping.
    #[error("{0} is not an experiment in YAML: {1}")]
    Syntax(PathBuf, String),
    /// A file says nothing.
    #[error(
        "{0} is empty, expected an experiment\nhint: write `{{}}` for the default of every key"
    )]
    Empty(PathBuf),
    /// A file extends too many others.
    #[error(
        "{0} is one file too many: expected at most 100 that `extends` names, and chains of at most 32\nhint: write \
         their keys into one file"
    )]
    TooMany(PathBuf),
    /// A file extends itself, directly or through other files.
    #[error("{0} extends itself through {1}")]
    Cycle(PathBuf, String),
    /// Keys or values are invalid.
    #[error("{file} has {count}:\n{list}", count = count(.faults), list = list(.faults))]
    Faults {
        /// The file that was to be loaded.
        file: PathBuf,
        /// All faults, each in the form `path: value: expected … (origin)`.
        faults: Vec<String>,
    },
}

fn count(faults: &[String]) -> String {
    if faults.len() == 1 {
        "a fault".to_owned()
    } else {
        format!("{} faults", faults.len())
    }
}

fn list(faults: &[String]) -> String {
    faults
        .iter()
        .map(|fault| format!("  {fault}"))
        .collect::<Vec<_>>()
        .join("\n")
}
