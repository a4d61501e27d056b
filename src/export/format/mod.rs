//! File formats of stand-alone CNNs.

pub(crate) mod onnx;
mod onnx_messages;
mod parts;
pub(crate) mod safetensors;
