//! Draws episodes from a pack. Each is addressed by its index; threads draw them ahead of the model. Nothing here
//! touches a device.

mod augment;
pub mod episode;
pub mod list;
pub mod loader;
mod plan;
pub mod sampler;
