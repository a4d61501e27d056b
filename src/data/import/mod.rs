//! One file a source layout; each ends in a pack.

pub mod cifar;
pub mod cub;
pub mod embeddings;
pub mod files;
pub mod folders;
pub mod idx;
pub mod known;
mod labelled;
pub mod mapped;
pub mod mini_imagenet;
mod numpy;
pub mod omniglot;
mod pickle;
pub mod pictures;
pub mod progress;
pub(super) mod tables;
pub mod tiered_imagenet;

use cifar::CifarSplit;

/// Classes and images of the data set whose packs are called so, if it is known.
pub(super) fn known_counts(name: &str) -> Option<(usize, usize)> {
    let known = [
        CifarSplit::CifarFs.known(),
        CifarSplit::Fc100.known(),
        cub::KNOWN,
        mini_imagenet::KNOWN,
        tiered_imagenet::KNOWN,
    ];
    let found = known.iter().find(|known| known.name == name);
    found
        .map(known::Known::counts)
        .or_else(|| (name == omniglot::NAME).then(omniglot::counts))
}
