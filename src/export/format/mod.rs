//! The files that a generated CNN is written to.

pub(crate) mod onnx;
mod onnx_messages;
mod parts;
pub(crate) mod safetensors;
