//! Reading what data sets are published as: archives, arrays, pickles.

pub mod files;
pub mod mapped;
pub(crate) mod numpy;
pub(crate) mod pickle;
pub mod progress;
