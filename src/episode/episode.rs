//! Types that describe an episode: its sizes, how it is drawn, which images it holds, and their pixels.

use ndarray::Array4;

use crate::pack::shape::Element;
use crate::settings::augmentation::{JitterOptions, PhotoOptions};
use crate::settings::episode::{EpisodeConfig, QuerySampling, Rotations};

/// Sizes of an episode, in the notation of §3.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpisodeShape {
    /// n, number of classes.
    pub way: usize,
    /// k, labelled support images per class.
    pub shot: usize,
    /// u, unlabelled support images per class.
    pub unlabeled: usize,
    /// Additional classes that contribute u unlabelled support images each and no queries.
    pub distractors: usize,
    /// q, query images per class (n · q in total).
    pub query: usize,
}

impl EpisodeShape {
    /// Sizes of an episode without unlabelled images.
    pub fn labeled(way: usize, shot: usize, query: usize) -> EpisodeShape {
        EpisodeShape {
            way,
            shot,
            unlabeled: 0,
            distractors: 0,
            query,
        }
    }

    /// Total number of images in an episode, support and queries.
    pub fn images(&self) -> usize {
        self.way * (self.shot + self.unlabeled + self.query) + self.distractors * self.unlabeled
    }
}

/// How images are selected for an episode and augmented.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpisodeDraw {
    /// How queries are distributed over the classes.
    pub query_sampling: QuerySampling,
    /// How classes are rotated.
    pub rotations: Rotations,
    /// Random affine map, drawn for each image.
    pub jitter: JitterOptions,
    /// Mirroring, colour changes and crops; `None` leaves images unchanged.
    pub photo: Option<PhotoOptions>,
}

impl EpisodeDraw {
    /// Balanced queries and unchanged images: the usual setting for validation and test.
    pub const PLAIN: EpisodeDraw = EpisodeDraw {
        query_sampling: QuerySampling::Balanced,
        rotations: Rotations::None,
        jitter: JitterOptions::NONE,
        photo: None,
    };

    /// The settings with which training draws its episodes.
    pub fn training(episode: &EpisodeConfig) -> EpisodeDraw {
        EpisodeDraw {
            query_sampling: episode.query_sampling,
            rotations: episode.rotations,
            jitter: episode.jitter,
            photo: episode.photo,
        }
    }

    /// Whether images are left unchanged.
    pub(crate) fn is_plain(&self) -> bool {
        self.rotations == Rotations::None && self.jitter.is_none() && self.photo.is_none()
    }
}

/// One image of an episode: its index in the pack and its class slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Image index in the pack.
    pub image: usize,
    /// Class slot: 0 to n−1, or n and above for a distractor class.
    pub slot: usize,
    /// Whether the model sees the class slot.
    pub labeled: bool,
}

/// An episode without pixels: which classes and which images it consists of.
#[derive(Clone, Debug, PartialEq)]
pub struct EpisodePlan {
    /// Class in the pack for each slot, `[n + distractors]`, distractors last.
    pub classes: Vec<usize>,
    /// Class of each slot as an index below [`EpisodeSampler::class_count`], `[n + distractors]`. With rotations as
    /// classes, each rotation of a class has its own index.
    ///
    /// [`EpisodeSampler::class_count`]: crate::episode::sampler::EpisodeSampler::class_count
    pub class_indices: Vec<usize>,
    /// Counter-clockwise rotation of each slot in quarter turns, 0 to 3, `[n + distractors]`.
    pub quarter_turns: Vec<u8>,
    /// Additional counter-clockwise rotation of each slot in degrees, `[n + distractors]`.
    pub angles: Vec<f32>,
    /// The support set, `[n·k + (n + distractors)·u]`: labelled samples first, then unlabelled ones in random order.
    pub support: Vec<Sample>,
    /// The query set, `[n·q]`.
    pub query: Vec<Sample>,
}

/// Images and labels of a support or query set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageSet {
    /// Pixels, `[N, C, H, W]`, 0 to 255; for embeddings the little-endian bytes of their numbers, `[N, 4·D, 1, 1]`.
    pub images: Array4<u8>,
    /// The element type of the images.
    pub element: Element,
    /// Class slots, `[N]`; an unlabelled image has label n.
    pub labels: Vec<i64>,
}

/// An episode with its pixels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    /// Number of the episode under its seed and part.
    pub index: u64,
    /// Class of each slot as an index among the classes of the part, `[n]` (see [`EpisodePlan::class_indices`]).
    pub classes: Vec<i64>,
    /// The support set.
    pub support: ImageSet,
    /// The query set.
    pub query: ImageSet,
}

impl Episode {
    /// The episode for a model with `slots` class slots, at least n, of which it uses the first n: the label of
    /// unlabelled images becomes that of the model.
    #[must_use]
    pub fn for_slots(mut self, slots: usize) -> Episode {
        let unlabeled = self.classes.len() as i64;
        let labels = self.support.labels.iter_mut();
        labels
            .filter(|label| **label == unlabeled)
            .for_each(|label| *label = slots as i64);
        self
    }
}
