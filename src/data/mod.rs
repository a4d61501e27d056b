//! Image files → pack → episodes. Knows nothing of tensors on a device.

mod affine;
mod augment;
mod colors;
pub mod episode;
pub mod episode_list;
pub mod episode_sampler;
pub mod error;
pub mod import;
pub mod labelled_pictures;
pub mod loader;
pub mod moments;
pub mod pack;
mod pack_writer;
mod pixels;
pub mod preparation;
pub mod random;
mod resident;
pub mod splits;
pub mod synthetic;
pub mod verify;

pub use pack_writer::PackWriter;
