//! What commands open: a run, a pack, a model that writes CNNs, a generated CNN.

pub(in crate::cli) mod cnn;
pub(in crate::cli) mod pack;
pub(in crate::cli) mod run;
pub(in crate::cli) mod writer;
