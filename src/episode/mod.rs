//! Pack → episodes: addressed by index, drawn ahead by threads. Knows nothing of tensors on a device.

mod augment;
pub mod episode;
pub mod list;
pub mod loader;
pub mod sampler;
