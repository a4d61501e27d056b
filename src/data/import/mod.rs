//! One file a source layout; each ends in a pack.

pub mod files;
pub mod omniglot;
