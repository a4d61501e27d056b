//! Writing packs from the pictures that importers find.

pub(crate) mod known;
pub(crate) mod labelled;
pub(crate) mod pictures;
