//! One file a source layout; each ends in a pack.

pub mod cifar;
pub mod cub;
pub mod embeddings;
pub mod files;
pub mod folders;
pub mod idx;
pub mod known;
mod labelled;
pub mod mapped;
pub mod mini_imagenet;
mod numpy;
pub mod omniglot;
mod pickle;
pub mod pictures;
pub(super) mod tables;
pub mod tiered_imagenet;
