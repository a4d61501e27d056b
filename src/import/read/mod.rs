//! Reading the files that data sets are published as: archives, arrays, pickles.

pub(crate) mod files;
pub(crate) mod mapped;
pub(crate) mod numpy;
pub(crate) mod pickle;
pub mod progress;
