//! Imports: archives as they come, whole, damaged or incomplete.

#[path = "../common/mod.rs"]
mod common;
mod embeddings;
mod folders;
mod omniglot;
