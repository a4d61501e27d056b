//! Encodes and decodes stand-alone CNNs as safetensors files with a description in the metadata.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::base::seal;
use crate::export::format::parts::{Weights, array, assemble, description, little_endian};
use crate::export::standalone::StandaloneCnn;

/// Key of the description in the file's metadata.
const METADATA_KEY: &str = "cnn";

/// Encodes `cnn`.
///
/// # Errors
/// If the tensors cannot be encoded.
pub(crate) fn to_bytes(cnn: &StandaloneCnn) -> Result<Vec<u8>, String> {
    let mut tensors = Vec::new();
    for layer in &cnn.layers {
        if let Some((weight, bias)) = &layer.weights {
            for (kind, values) in [("weight", weight), ("bias", bias)] {
                let name = format!("{}.{kind}", layer.name);
                tensors.push((name, values.shape().to_vec(), little_endian(values)));
            }
        }
    }
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| error.to_string())?;
    let metadata = HashMap::from([(METADATA_KEY.to_owned(), description(cnn))]);
    let mut bytes =
        safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())?;
    seal::seal(&mut bytes);
    Ok(bytes)
}

/// Decodes a file that [`to_bytes`] encoded; `sealed` says whether it has a checksum.
///
/// # Errors
/// A description of what is wrong with the file.
pub(crate) fn from_bytes(bytes: &[u8], sealed: bool) -> Result<StandaloneCnn, String> {
    let damaged = |error: safetensors::SafeTensorError| {
        format!("it is not a complete safetensors file ({error})")
    };
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
    let metadata = header.metadata().as_ref();
    let text = metadata
        .and_then(|metadata| metadata.get(METADATA_KEY))
        .ok_or_else(|| {
            if metadata.is_some_and(|metadata| metadata.contains_key("checkpoint")) {
                "it holds a weight generator, not a CNN\nhint: use it with `hypertransformer generate`"
                    .to_owned()
            } else {
                format!("its metadata has no key `{METADATA_KEY}`")
            }
        })?;
    let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
    let weights = file
        .iter()
        .map(|(name, view)| {
            let shape: Vec<i64> = view.shape().iter().map(|&length| length as i64).collect();
            let values = match view.dtype() {
                Dtype::F32 => array(&shape, view.data()),
                _ => None,
            };
            let values = values.ok_or_else(|| format!("the tensor `{name}` is not of type F32"))?;
            Ok((name.to_owned(), values))
        })
        .collect::<Result<Weights, String>>()?;
    assemble(text, weights, sealed)
}
