//! One file a source layout; each ends in a pack.

pub mod cifar;
pub mod cub;
pub mod embeddings;
pub mod folders;
pub mod idx;
pub mod mini_imagenet;
pub mod omniglot;
pub mod synthetic;
pub mod tiered_imagenet;
