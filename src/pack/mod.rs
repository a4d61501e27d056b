//! Packs: one safetensors file a data set, with its classes and splits.

pub mod error;
pub mod moments;
pub mod pack;
pub mod part;
pub(crate) mod pixels;
pub mod splits;
pub mod writer;
