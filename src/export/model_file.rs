//! Files of stand-alone CNNs: written whole or not at all, read by what they hold.
use std::path::Path;

use crate::export::error::ExportError;
use crate::export::format::{onnx, safetensors};
use crate::export::standalone::StandaloneCnn;

/// Largest file that is read, in bytes.
const LARGEST: u64 = 1 << 30;

/// The bytes of an ONNX model.
pub fn onnx_bytes(cnn: &StandaloneCnn) -> Vec<u8> {
    onnx::to_bytes(cnn)
}

/// The bytes of a safetensors file.
///
/// # Errors
/// If a tensor cannot be written down.
pub fn safetensors_bytes(cnn: &StandaloneCnn) -> Result<Vec<u8>, ExportError> {
    safetensors::to_bytes(cnn).map_err(ExportError::NotExportable)
}

/// Reads an `.onnx` or `.safetensors` file of `hypertransformer generate`.
///
/// # Errors
/// If it cannot be read or is something else.
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
    let facts = std::fs::metadata(path).map_err(failed)?;
    if facts.len() > LARGEST {
        return Err(refuse(format!("it has {} bytes", facts.len())));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    // A safetensors file has its JSON header after eight bytes of length.
    let cnn = match bytes.get(8) {
        Some(b'{') => safetensors::from_bytes(&bytes),
        _ => onnx::from_bytes(&bytes),
    }
    .map_err(refuse)?;
    Ok(cnn)
}
