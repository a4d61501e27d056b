//! Errors of generating, writing and reading stand-alone CNNs.

use std::path::PathBuf;

use thiserror::Error;

use crate::pack::error::DataError;

/// An error while generating, writing or reading a stand-alone CNN.
#[derive(Debug, Error)]
pub enum ExportError {
    /// The trained model or the generated CNN cannot be exported.
    #[error("{0}")]
    NotExportable(String),
    /// The trained model cannot use these pictures.
    #[error("{0}")]
    Support(String),
    /// The generated weights contain NaN or infinite values.
    #[error(
        "the generated weights are not finite: the pictures may all be identical, or the model was not trained\n\
         hint: try other pictures or another checkpoint"
    )]
    NotFinite,
    /// A file is not an exported CNN.
    #[error("{path} is not a CNN made by `hypertransformer generate`: {problem}")]
    NotAModel {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A file could not be read or written.
    #[error("could not {action} {path}")]
    Access {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },
    /// A picture or a list of pictures cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
}
