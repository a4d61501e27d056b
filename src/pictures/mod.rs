//! Picture files: decoding, preparation for a model, and a user's labelled pictures.

pub(crate) mod blank;
pub(crate) mod decoding;
pub(crate) mod jpeg;
pub(crate) mod kinds;
pub mod labelled;
pub mod preparation;
pub mod remarks;
pub mod search;
pub(crate) mod tables;
