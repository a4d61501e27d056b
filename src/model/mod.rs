//! The model: purely functional, φ comes in as an argument. It knows nothing of files, epochs or seeds.

pub mod batch;
pub mod cnn;
pub mod generator;
pub mod hypertransformer;
pub mod kernels;
pub mod parameters;
pub mod part_cost;
pub mod pass;
pub mod statistics;
pub mod summary;
mod support_gradient;
pub mod trained;
pub mod training_heads;
pub mod weights;
