//! A generated CNN, opened to classify pictures.

use std::path::PathBuf;

use clap::Args;
use hypertransformer::export::error::ExportError;
use hypertransformer::export::model_file;
use hypertransformer::export::standalone::StandaloneCnn;
use hypertransformer::pictures::preparation::Invert;

#[derive(Args)]
pub(in crate::cli) struct CnnArguments {
    /// The CNN: NAME.onnx or NAME.safetensors as written by `generate`
    pub(in crate::cli) model: PathBuf,
    /// Whether to invert light and dark [default: as when the CNN was written]
    #[arg(long, value_enum)]
    invert: Option<Invert>,
}

impl CnnArguments {
    pub(in crate::cli) fn open(&self) -> Result<StandaloneCnn, ExportError> {
        tch::set_num_threads(1);
        let mut cnn = model_file::read(&self.model)?;
        cnn.preparation.invert = self.invert.unwrap_or(cnn.preparation.invert);
        Ok(cnn)
    }
}
