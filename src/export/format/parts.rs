//! Parts shared by both formats: the description as JSON, and weights by name.

use std::collections::HashMap;

use ndarray::ArrayD;

use crate::export::standalone::{FORMAT_VERSION, StandaloneCnn};

/// Tensors by name.
pub(crate) type Weights = HashMap<String, ArrayD<f32>>;

/// Describes everything except the weights as JSON.
pub(crate) fn description(cnn: &StandaloneCnn) -> String {
    serde_json::to_string(cnn).unwrap_or_default()
}

/// Builds a CNN from its description and weights, and checks that they fit together.
///
/// # Errors
/// A description of what is wrong.
pub(crate) fn assemble(description: &str, mut weights: Weights) -> Result<StandaloneCnn, String> {
    let mut cnn: StandaloneCnn = serde_json::from_str(description)
        .map_err(|error| format!("its description cannot be read ({error})"))?;
    if cnn.format_version != FORMAT_VERSION {
        return Err(format!(
            "it has format version {}, but this program reads version {FORMAT_VERSION}",
            cnn.format_version
        ));
    }
    for layer in &mut cnn.layers {
        if layer.has_weights() {
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

/// Decodes little-endian numbers; `None` if their count does not match `shape`.
pub(crate) fn array(shape: &[i64], bytes: &[u8]) -> Option<ArrayD<f32>> {
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

/// Encodes numbers as little-endian bytes, the inverse of [`array()`].
pub(crate) fn little_endian(values: &ArrayD<f32>) -> Vec<u8> {
    let numbers = values.iter();
    numbers.flat_map(|value| value.to_le_bytes()).collect()
}
