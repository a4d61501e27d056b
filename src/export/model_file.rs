//! Files of stand-alone CNNs: written whole or not at all, read by what they hold.

use std::collections::HashMap;
use std::path::Path;

use ndarray::ArrayD;

use super::standalone::{FORMAT_VERSION, StandaloneCnn};
use super::{ExportError, onnx, safetensors};

/// Tensors by name.
pub(super) type Weights = HashMap<String, ArrayD<f32>>;

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

/// All but the weights, as JSON.
pub(super) fn description(cnn: &StandaloneCnn) -> String {
    serde_json::to_string(cnn).unwrap_or_default()
}

/// A CNN of its description and its weights, checked to fit together.
pub(super) fn assemble(description: &str, mut weights: Weights) -> Result<StandaloneCnn, String> {
    let mut cnn: StandaloneCnn = serde_json::from_str(description)
        .map_err(|error| format!("its description cannot be read ({error})"))?;
    if cnn.format_version != FORMAT_VERSION {
        return Err(format!(
            "it has format version {}, expected {FORMAT_VERSION}",
            cnn.format_version
        ));
    }
    for layer in &mut cnn.layers {
        if layer.is_weighted() {
            let mut take = |kind: &str| {
                let name = format!("{}.{kind}", layer.name);
                let found = weights.remove(&name);
                found.ok_or_else(|| format!("the tensor `{name}` is missing"))
            };
            layer.weights = Some((take("weight")?, take("bias")?));
        }
    }
    cnn.cost()?;
    Ok(cnn)
}

/// Little-endian numbers of a shape; none where they do not fill it.
pub(super) fn array(shape: &[i64], bytes: &[u8]) -> Option<ArrayD<f32>> {
    let shape: Vec<usize> = shape
        .iter()
        .map(|&length| usize::try_from(length).ok())
        .collect::<Option<_>>()?;
    let numbers = bytes
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))
        .collect();
    ArrayD::from_shape_vec(shape, numbers).ok()
}

/// The numbers as bytes, of which [`array()`] makes them again.
pub(super) fn little_endian(values: &ArrayD<f32>) -> Vec<u8> {
    let numbers = values.iter();
    numbers.flat_map(|value| value.to_le_bytes()).collect()
}
