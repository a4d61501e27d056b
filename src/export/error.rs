//! What can be wrong between pictures and an exported CNN.
use std::path::PathBuf;

use thiserror::Error;

use crate::pack::error::DataError;

/// What can be wrong between pictures and an exported CNN.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The trained model cannot give a CNN that stands alone.
    #[error("{0}")]
    NotExportable(String),
    /// The pictures do not fit the trained model.
    #[error("{0}")]
    Support(String),
    /// The generated weights are not finite.
    #[error(
        "the generated weights are not finite: the pictures may all be alike, or φ was not trained; \
         try other pictures or another checkpoint"
    )]
    NotFinite,
    /// A file is no exported model.
    #[error("{path} is no model that `hypertransformer generate` made: {problem}")]
    NotAModel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Reading or writing failed.
    #[error("could not {action} {path}")]
    Access {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's answer.
        #[source]
        source: std::io::Error,
    },
    /// A picture or a list.
    #[error(transparent)]
    Data(#[from] DataError),
}
