//! Reading the files that data sets are published as: archives, arrays, pickles.

pub(crate) mod archives;
pub(crate) mod files;
pub(crate) mod mapped;
pub(crate) mod npy_header;
pub(crate) mod numpy;
pub(crate) mod passed;
pub(crate) mod pickle;
pub mod progress;
pub(crate) mod search;
