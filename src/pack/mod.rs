//! Packs: data sets as single safetensors files that hold images, classes and class splits.

pub mod error;
pub mod intact;
pub mod moments;
pub mod pack;
pub mod part;
pub(crate) mod pixels;
pub mod shape;
pub mod splits;
pub mod writer;
