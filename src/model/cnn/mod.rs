//! The target CNN: its sizes, its blocks, and how their activations are normalised.

pub mod batch_norm;
pub(crate) mod block;
pub mod cnn;
pub mod plain;
pub mod shapes;
