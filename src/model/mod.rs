//! The model: a HyperTransformer with its target CNN. It is purely functional, φ is an argument, and it knows no files,
//! runs or experiments.

pub mod batch;
pub mod cnn;
pub mod error;
pub mod generator;
pub mod hypertransformer;
pub mod kernels;
pub mod layers;
pub mod map_size;
pub mod parameter_group;
pub mod parameters;
pub mod part_cost;
pub mod pass;
pub mod state;
pub mod statistics;
pub mod summary;
mod support_gradient;
pub(crate) mod tensor_sizes;
pub mod trained;
pub mod training_heads;
pub mod weights;
