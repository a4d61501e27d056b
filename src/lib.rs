//! HyperTransformer (Zhmoginov, Sandler, Vladymyrov, ICML 2022) on libtorch: a Transformer reads a few labelled
//! pictures and writes the weights of a small CNN in one forward pass.
//!
//! The way of the data: [`data`] → [`model`] → [`train`] and [`evaluate`] → [`report`], [`export`]. `docs/architecture.md` has
//! the picture.

pub mod analysis;
pub mod atomic;
pub mod compute;
pub mod config;
pub mod data;
pub mod evaluate;
pub mod export;
pub mod model;
pub mod report;
pub mod train;
