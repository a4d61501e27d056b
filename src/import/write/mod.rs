//! Writing packs from what was read.

pub mod known;
pub(crate) mod labelled;
pub mod pictures;
