//! HyperTransformer (Zhmoginov, Sandler, Vladymyrov, ICML 2022) on libtorch: a Transformer reads a few labelled
//! pictures and writes the weights of a small CNN in one forward pass.
//!
//! Data flows one way: [`import`] → [`pack`] → [`episode`] → [`model`] → [`train`] and [`evaluate`] → [`report`],
//! [`export`]. `docs/internals.md` has the picture.

// `report::console` prints.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod analysis;
pub mod base;
pub mod draw;
pub mod episode;
pub mod evaluate;
pub mod export;
pub mod import;
pub mod model;
pub mod pack;
pub mod pictures;
pub mod report;
pub mod run;
pub mod settings;
pub mod train;
