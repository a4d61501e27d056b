//! The weight generators: support set → tokens → Transformer → weight slices of one layer.

mod arrangement;
pub mod attention;
pub(crate) mod convolution;
pub mod embedding;
pub mod generator;
pub mod gradient_step;
pub mod slices;
pub mod targets;
pub mod tokens;
pub mod transformer;
