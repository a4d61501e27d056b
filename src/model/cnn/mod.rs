//! The target CNN: sizes, blocks and batch normalisation.

pub mod batch_norm;
pub(crate) mod block;
pub mod cnn;
pub(crate) mod learned;
pub mod plain;
pub mod shapes;
