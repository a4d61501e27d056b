//! A run on disk: its folder, its checkpoints, and the model and samplers that its experiment asks for.

pub mod assemble;
pub mod checkpoint;
pub mod folder;
