//! Generates a stand-alone CNN from a user's labelled pictures and writes it as ONNX and safetensors, with a summary
//! (its "card") as HTML and JSON.

pub mod card;
pub mod error;
mod fold;
mod format;
pub mod generation;
pub mod model_file;
pub mod standalone;
