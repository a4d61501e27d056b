//! Image files → pack: what is read, from which source, and how it is written.

pub mod read;
pub mod sources;
pub mod verify;
pub mod write;
use crate::import::sources::cifar::CifarSplit;
use crate::import::sources::{cub, mini_imagenet, omniglot, tiered_imagenet};
use crate::import::write::known::Known;

/// Classes and images of the data set whose packs are called so, if it is known.
pub(crate) fn known_counts(name: &str) -> Option<(usize, usize)> {
    let known = [
        CifarSplit::CifarFs.known(),
        CifarSplit::Fc100.known(),
        cub::KNOWN,
        mini_imagenet::KNOWN,
        tiered_imagenet::KNOWN,
    ];
    let found = known.iter().find(|known| known.name == name);
    found
        .map(Known::counts)
        .or_else(|| (name == omniglot::NAME).then(omniglot::counts))
}
