//! A generated CNN opened to be asked.
use std::path::PathBuf;

use clap::Args;
use hypertransformer::export::error::ExportError;
use hypertransformer::export::model_file;
use hypertransformer::export::standalone::StandaloneCnn;
use hypertransformer::pictures::preparation::Invert;

#[derive(Args)]
pub(in crate::cli) struct CnnArguments {
    /// NAME.onnx or NAME.safetensors of `generate`
    pub(in crate::cli) model: PathBuf,
    /// Turn grey values over [default: as the model was made]
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
