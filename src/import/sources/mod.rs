//! Importers, one file for each source layout; each writes a pack.

pub(crate) mod cifar;
pub(crate) mod class_folders;
pub(crate) mod cub;
pub(crate) mod embeddings;
pub(crate) mod folders;
pub(crate) mod idx;
pub(crate) mod mini_imagenet;
pub(crate) mod omniglot;
mod places;
mod split_names;
pub mod synthetic;
pub(crate) mod tiered_imagenet;
