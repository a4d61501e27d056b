//! One file a source layout; each ends in a pack.

pub mod embeddings;
pub mod files;
pub mod folders;
pub mod mini_imagenet;
pub mod omniglot;
pub mod pictures;
mod tables;
