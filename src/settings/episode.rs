//! What an episode is and how it is drawn.
use serde::{Deserialize, Serialize};

use crate::settings::augmentation::{JitterOptions, PhotoOptions};

/// How query images are spread over the classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuerySampling {
    /// As many of each class.
    Balanced,
    /// Drawn at random from all remaining images of the episode's classes.
    Random,
    /// As many of each class, from all its images: those of the support set may be among them (the authors' program).
    /// The only way of sampling that lets the support set help by being known by heart.
    Overlapping,
}

/// What rotations do to training classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotations {
    /// Nothing is rotated.
    None,
    /// Each class of an episode gets one random rotation, support and queries alike (the authors' scripts).
    PerClass,
    /// Every class counts four times, once a rotation (the literature after Vinyals et al.).
    AsClasses,
    /// Each class of an episode gets one of −45°, −11.25°, 0°, 11.25° and 45°, support and queries alike (the program
    /// of LGM-Net, Li et al. 2019, there at evaluation too; Appendix D).
    LgmNet,
}

/// What an episode is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EpisodeConfig {
    /// n, classes.
    pub way: usize,
    /// k, labelled images a class.
    pub shot: usize,
    /// u, unlabelled images a class in the support set.
    pub unlabeled: usize,
    /// Further classes that only unlabelled images are drawn from, u of each (Ren et al. 2018).
    pub distractors: usize,
    /// q, query images a class in training (n · q in all).
    pub query: usize,
    /// Query images a class in validation and evaluation.
    pub evaluation_query: usize,
    /// How queries are spread over classes in training.
    pub query_sampling: QuerySampling,
    /// Rotations of training classes.
    pub rotations: Rotations,
    /// Random affine jitter of training images, support and queries, each on its own.
    pub jitter: JitterOptions,
    /// Mirroring, colours and crops of training images; null leaves them as they are, `{}` is the authors' ranges.
    pub photo: Option<PhotoOptions>,
    /// Whether validation and evaluation rotate and change images as training does. Such an accuracy is not comparable
    /// with others.
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
