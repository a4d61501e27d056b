//! Settings of episodes: sizes, sampling and augmentation.

use serde::{Deserialize, Serialize};

use crate::settings::augmentation::{JitterOptions, PhotoOptions};

/// How query images are distributed over the classes of an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuerySampling {
    /// The same number from each class, disjoint from the support set.
    Balanced,
    /// Drawn at random from all images of the episode's classes that are not in the support set.
    Random,
    /// The same number from each class, drawn from all its images, including those in the support set (the authors'
    /// program). Only this mode rewards memorising support images.
    Overlapping,
}

/// Rotation of training classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotations {
    /// No rotation.
    None,
    /// Each class of an episode is rotated by a random multiple of 90°, the same for its support and query images (the
    /// authors' scripts).
    PerClass,
    /// Each rotation of a class by a multiple of 90° is a class of its own (the literature since Vinyals et al.).
    AsClasses,
    /// Each class of an episode is rotated by −45°, −11.25°, 0°, 11.25° or 45°, the same for its support and query
    /// images (program of LGM-Net, Li et al. 2019, which does so in evaluation too; Appendix D).
    LgmNet,
}

/// Sizes, sampling and augmentation of episodes (§3.1).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EpisodeConfig {
    /// n, number of classes.
    pub way: usize,
    /// k, labelled support images per class.
    pub shot: usize,
    /// u, unlabelled support images per class.
    pub unlabeled: usize,
    /// Additional classes that contribute u unlabelled support images each and no queries (Ren et al. 2018).
    pub distractors: usize,
    /// q, query images per class in training (n · q in total).
    pub query: usize,
    /// Query images per class in validation and evaluation.
    pub evaluation_query: usize,
    /// How queries are distributed over the classes in training.
    pub query_sampling: QuerySampling,
    /// Rotation of training classes.
    pub rotations: Rotations,
    /// Random affine map of training images, drawn independently for each support and query image.
    pub jitter: JitterOptions,
    /// Mirroring, colour changes and crops of training images. Null leaves images unchanged; `{}` uses the ranges of
    /// the authors' program.
    pub photo: Option<PhotoOptions>,
    /// Whether validation and evaluation augment images as training does. The resulting accuracy is not comparable with
    /// others.
    pub augment_evaluation: bool,
}

impl Default for EpisodeConfig {
    fn default() -> Self {
        EpisodeConfig {
            way: 20,
            shot: 1,
            unlabeled: 0,
            distractors: 0,
            query: 3,
            evaluation_query: 5,
            query_sampling: QuerySampling::Balanced,
            rotations: Rotations::None,
            jitter: JitterOptions::NONE,
            photo: None,
            augment_evaluation: false,
        }
    }
}
