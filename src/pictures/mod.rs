//! Pictures of a user: decoding, preparation for a model, and the lists that name them.

pub(crate) mod decoding;
pub mod labelled;
pub mod preparation;
pub(crate) mod tables;
