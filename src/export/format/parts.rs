//! Parts shared by both formats: the description as JSON, and weights by name.

use std::collections::HashMap;

use ndarray::ArrayD;
use serde::Serialize;

use crate::base::seal;
use crate::export::standalone::{FORMAT_VERSION, StandaloneCnn};

/// Length of the longest accepted description in bytes.
const LONGEST_DESCRIPTION: usize = 16 << 20;

/// Tensors by name.
pub(crate) type Weights = HashMap<String, ArrayD<f32>>;

/// What is written of a CNN besides its weights.
#[derive(Serialize)]
struct Description<'a> {
    /// Before any text from elsewhere, see [`seal`].
    checksum: &'static str,
    #[serde(flatten)]
    cnn: &'a StandaloneCnn,
}

/// Describes everything except the weights as JSON, for a file that [`seal::seal`] completes.
pub(crate) fn description(cnn: &StandaloneCnn) -> String {
    let checksum = seal::BLANK;
    serde_json::to_string(&Description { checksum, cnn }).unwrap_or_default()
}

/// Builds a CNN from its description and weights, and checks that they fit together. `sealed` says whether the file has a
/// checksum, which all have but the oldest.
///
/// # Errors
/// A description of what is wrong.
pub(crate) fn assemble(
    description: &str,
    mut weights: Weights,
    sealed: bool,
) -> Result<StandaloneCnn, String> {
    if description.len() > LONGEST_DESCRIPTION {
        let length = description.len();
        return Err(format!(
            "its description has {length} bytes, expected at most {LONGEST_DESCRIPTION}"
        ));
    }
    let mut cnn: StandaloneCnn = serde_json::from_str(description)
        .map_err(|error| format!("its description cannot be read ({error})"))?;
    if !(1..=FORMAT_VERSION).contains(&cnn.format_version) {
        return Err(format!(
            "it has format version {}, but this program reads versions up to {FORMAT_VERSION}",
            cnn.format_version
        ));
    }
    if cnn.format_version > 1 && !sealed {
        return Err("it has lost its checksum".to_owned());
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
    match cnn.is_finite() {
        true => Ok(cnn),
        false => Err("its weights are not finite numbers".to_owned()),
    }
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
