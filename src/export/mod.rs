//! A trained HyperTransformer as a tool: pictures of a user's own → a small CNN that stands alone → ONNX, safetensors, a
//! card (§5.2, §5.3 of the paper).

pub mod card;
pub mod error;
mod fold;
mod format;
pub mod generation;
pub mod model_file;
pub mod standalone;
