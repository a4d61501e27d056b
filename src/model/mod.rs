//! The model: purely functional, φ comes in as an argument. It knows nothing of files, epochs or seeds.

pub mod allocation;
pub mod architecture;
pub mod batch_norm;
pub mod cnn;
pub mod cnn_block;
pub mod convolution;
pub mod embedding;
pub mod episode_batch;
pub mod generator;
pub mod hooks;
pub mod hypertransformer;
pub mod initialization;
mod numbers;
pub mod parameters;
pub mod part_cost;
pub mod plain_cnn;
pub mod pooled_convolution;
mod side_by_side;
pub mod statistics;
pub mod summary;
mod support_gradient;
pub mod tape;
mod targets;
mod token_transformer;
pub mod tokens;
pub mod training_heads;
pub mod transformer;
