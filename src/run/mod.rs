//! A run on disk: its folder, its checkpoints, and how its experiment becomes a model and samplers.

pub mod assemble;
pub mod checkpoint;
mod entries;
pub mod error;
pub mod facts;
pub mod folder;
pub mod pack_of;
pub mod record;
pub(crate) mod resume;
pub mod sweep;
