//! From published files to packs: the catalogue of data sets, readers, one importer for each data set, and writers.

pub mod catalog;
pub mod data_set;
pub mod read;
pub mod sources;
pub mod verify;
pub(crate) mod write;
