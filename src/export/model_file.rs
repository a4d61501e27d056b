//! Encodes stand-alone CNNs as ONNX or safetensors, and reads both formats.

use std::io::ErrorKind;
use std::path::Path;

use crate::base::{files, seal};
use crate::export::error::ExportError;
use crate::export::format::{onnx, safetensors};
use crate::export::standalone::StandaloneCnn;

/// Size in bytes of the largest accepted file.
const LARGEST: u64 = 1 << 30;

/// Encodes `cnn` as an ONNX model with input `pictures`, `[N, C, H, W]`, values 0 to 1, and output `logits`, `[N, n]`.
pub fn onnx_bytes(cnn: &StandaloneCnn) -> Vec<u8> {
    onnx::to_bytes(cnn)
}

/// Encodes `cnn` as a safetensors file with a JSON description in its metadata.
///
/// # Errors
/// [`ExportError::NotExportable`] if the tensors cannot be encoded.
pub fn safetensors_bytes(cnn: &StandaloneCnn) -> Result<Vec<u8>, ExportError> {
    safetensors::to_bytes(cnn).map_err(ExportError::NotExportable)
}

/// Reads an ONNX or safetensors file that `hypertransformer generate` wrote; the contents determine the format.
///
/// # Errors
/// [`ExportError::Access`] if the file cannot be read, [`ExportError::NotAModel`] if it is not such a CNN.
pub fn read(path: &Path) -> Result<StandaloneCnn, ExportError> {
    let failed = |source| ExportError::Access {
        action: "read",
        path: path.to_path_buf(),
        source,
    };
    let refuse = |problem: String| ExportError::NotAModel {
        path: path.to_path_buf(),
        problem,
    };
    let bytes = files::read(path, LARGEST).map_err(|error| match error.kind() {
        ErrorKind::FileTooLarge => refuse(error.to_string()),
        _ => failed(error),
    })?;
    let sealed = seal::check(&bytes).map_err(|error| refuse(error.to_string()))?;
    // The JSON header of a safetensors file begins after eight bytes of length.
    let cnn = match bytes.get(8) {
        Some(b'{') => safetensors::from_bytes(&bytes, sealed),
        _ => onnx::from_bytes(&bytes, sealed),
    }
    .map_err(refuse)?;
    Ok(cnn)
}
