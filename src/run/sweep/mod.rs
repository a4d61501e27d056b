//! A sweep: the runs that a grid of settings and seeds asks for, which of them this process takes, and how far each is.

pub mod grid;
mod names;
pub mod shard;
pub mod standing;
