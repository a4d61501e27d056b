//! What an episode is: its sizes, how it is drawn, which images it has, and their pixels.
use ndarray::Array4;

use crate::pack::pack::Element;
use crate::settings::augmentation::{JitterOptions, PhotoOptions};
use crate::settings::episode::{EpisodeConfig, QuerySampling, Rotations};

/// Sizes of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpisodeShape {
    /// n, classes.
    pub way: usize,
    /// k, labelled images a class.
    pub shot: usize,
    /// u, unlabelled images a class in the support set.
    pub unlabeled: usize,
    /// Further classes with unlabelled images only, u of each.
    pub distractors: usize,
    /// q, query images a class (n · q in all).
    pub query: usize,
}

impl EpisodeShape {
    /// Without unlabelled images.
    pub fn labeled(way: usize, shot: usize, query: usize) -> EpisodeShape {
        EpisodeShape {
            way,
            shot,
            unlabeled: 0,
            distractors: 0,
            query,
        }
    }

    /// Images of an episode, support and queries.
    pub fn images(&self) -> usize {
        self.way * (self.shot + self.unlabeled + self.query) + self.distractors * self.unlabeled
    }
}

/// How episodes are drawn beyond their sizes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpisodeDraw {
    /// How queries are spread over classes.
    pub query_sampling: QuerySampling,
    /// What rotations do to classes.
    pub rotations: Rotations,
    /// Affine jitter of each image.
    pub jitter: JitterOptions,
    /// Mirroring, colours and crops.
    pub photo: Option<PhotoOptions>,
}

impl EpisodeDraw {
    /// Balanced queries, images as they are: validation and test.
    pub const PLAIN: EpisodeDraw = EpisodeDraw {
        query_sampling: QuerySampling::Balanced,
        rotations: Rotations::None,
        jitter: JitterOptions::NONE,
        photo: None,
    };

    /// As training draws.
    pub fn of(episode: &EpisodeConfig) -> EpisodeDraw {
        EpisodeDraw {
            query_sampling: episode.query_sampling,
            rotations: episode.rotations,
            jitter: episode.jitter,
            photo: episode.photo,
        }
    }

    /// Whether images stay as they are.
    pub(crate) fn is_plain(&self) -> bool {
        self.rotations == Rotations::None && self.jitter.is_none() && self.photo.is_none()
    }
}

/// One image of an episode: where it lies in the pack and its class slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Image index in the pack.
    pub image: usize,
    /// Class slot in 0 … n−1; of a distractor class n and more.
    pub slot: usize,
    /// Whether the model is told the slot.
    pub labeled: bool,
}

/// An episode by indices: which classes, which images.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodePlan {
    /// Pack class of each slot, distractors last.
    pub classes: Vec<usize>,
    /// The same as places among the part's classes; a rotation that counts as a class has a place of its own.
    pub places: Vec<usize>,
    /// Quarter turns (counter-clockwise) of each slot.
    pub quarter_turns: Vec<u8>,
    /// Further turns of each slot, in degrees, counter-clockwise.
    pub angles: Vec<f32>,
    /// The support set, `[n·k + (n + distractors)·u]`, labelled samples first, unlabelled ones in random order.
    pub support: Vec<Sample>,
    /// The query set, `[n·q]`.
    pub query: Vec<Sample>,
}

/// Images and labels of one set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSet {
    /// `[N, C, H, W]`, 0 to 255; of embeddings the bytes of their numbers, `[N, 4·D, 1, 1]`.
    pub images: Array4<u8>,
    /// What images are made of.
    pub element: Element,
    /// `[N]`, class slots; n for an unlabelled image.
    pub labels: Vec<i64>,
}

/// One episode with its pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    /// i
    pub index: u64,
    /// Place of each label's class among the classes of the part, `[n]`.
    pub classes: Vec<i64>,
    /// The support set.
    pub support: ImageSet,
    /// The query set.
    pub query: ImageSet,
}
