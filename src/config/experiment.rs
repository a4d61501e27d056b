//! The experiment file, typed. Every field has a default, so that a file says only what is its own.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::batch_norm::BatchNormMode;
use crate::model::cnn::BlockOperation;

/// One experiment: data, episodes, model, training, validation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Experiment {
    /// Where images come from.
    pub data: DataConfig,
    /// What an episode is.
    pub episode: EpisodeConfig,
    /// The target CNN.
    pub cnn: CnnOptions,
    /// The weight generator.
    pub generator: GeneratorOptions,
    /// Whose statistics normalise (`query` | `support` | `running`).
    pub batch_norm: BatchNormMode,
    /// How φ starts.
    pub initialization: Initialization,
    /// How φ is learned.
    pub train: TrainConfig,
    /// How training is watched.
    pub validation: ValidationConfig,
}

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// The pack; a relative path is taken from the working directory.
    pub pack: PathBuf,
    /// Name of the class split in the pack; null takes the pack's own default.
    pub split: Option<String>,
}

/// How query images are spread over the classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QuerySampling {
    /// As many of each class.
    Balanced,
    /// Drawn at random from all remaining images of the episode's classes.
    Random,
}

/// What rotations by multiples of 90° do to training classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotations {
    /// Nothing is rotated.
    None,
    /// Each class of an episode gets one random rotation, support and queries alike (the authors' scripts).
    PerClass,
    /// Every class counts four times, once a rotation (the literature after Vinyals et al.).
    AsClasses,
}

/// What an episode is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EpisodeConfig {
    /// n, classes.
    pub way: usize,
    /// k, labelled images a class.
    pub shot: usize,
    /// q, query images a class in training (n · q in all).
    pub query: usize,
    /// Query images a class in validation and evaluation.
    pub evaluation_query: usize,
    /// How queries are spread over classes in training.
    pub query_sampling: QuerySampling,
    /// Rotations of training classes; validation and test are never rotated.
    pub rotations: Rotations,
    /// Random affine jitter of training images, support and queries, each on its own.
    pub jitter: JitterOptions,
}

/// Ranges of a random affine map; all 0 changes nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JitterOptions {
    /// Turn, in degrees either way.
    pub rotation: f64,
    /// Larger or smaller by up to this fraction.
    pub scale: f64,
    /// Columns moved by up to this many times the row.
    pub shear: f64,
    /// Shift, as a fraction of the image's size, either way.
    pub shift: f64,
}

impl JitterOptions {
    /// Whether it changes nothing.
    pub fn is_none(&self) -> bool {
        *self == JitterOptions::default()
    }
}

/// The target CNN.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CnnOptions {
    /// Channels of every convolution.
    pub channels: usize,
    /// Number of convolution blocks.
    pub layers: usize,
    /// Kernel size, odd.
    pub kernel_size: usize,
    /// Order of a block's operations; the first is `convolution`.
    pub block: Vec<BlockOperation>,
}

/// What the logits generator sees of the activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogitsFeatures {
    /// The activation embedding h_φ (the paper).
    Embedded,
    /// The flattened final activations.
    Flat,
    /// Both.
    Both,
}

/// The weight generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeneratorOptions {
    /// d, width of ξ and μ.
    pub label_dim: usize,
    /// Width of the image embedding s_φ; 0 leaves it out.
    pub image_embedding: usize,
    /// Features of a convolution of the activation embedding h_φ; null takes `cnn.channels`.
    pub activation_embedding: Option<usize>,
    /// What the logits generator sees of the activations.
    pub logits_features: LogitsFeatures,
    /// Encoder layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// ν of queries and keys: their width as a fraction of the token width, rounded up to a multiple of `heads`.
    pub query_key_fraction: f64,
    /// ν of values.
    pub value_fraction: f64,
    /// ν of the inner fully-connected layer; 0 leaves the layer out.
    pub inner_fraction: f64,
}

/// How φ starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initialization {
    /// Random, as in the authors' program.
    #[default]
    Paper,
    /// Self-attention starts as one gradient step on the logits layer (Appendix A).
    GradientStep,
}

/// Which optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Plain gradient descent.
    Sgd,
    /// Gradient descent with momentum 0.9.
    Momentum,
    /// Adam with decoupled weight decay.
    Adamw,
}

/// How the learning rate moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// `learning_rate` · `decay_rate`^(step / `decay_steps`), continuously (paper, Appendix C).
    Decay,
    /// Linear warm-up over `warmup_steps`, then a half cosine down to 0 at `steps`.
    Cosine,
}

/// How φ is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimizer steps.
    pub steps: u64,
    /// T, episodes a step.
    pub tasks_per_step: usize,
    /// Which optimizer.
    pub optimizer: OptimizerKind,
    /// Learning rate at its highest.
    pub learning_rate: f64,
    /// How it moves.
    pub schedule: ScheduleKind,
    /// Steps of linear warm-up (`cosine`).
    pub warmup_steps: u64,
    /// Factor a `decay_steps` (`decay`).
    pub decay_rate: f64,
    /// Steps a `decay_rate` (`decay`).
    pub decay_steps: u64,
    /// Longest gradient norm; null does not clip.
    pub clip_norm: Option<f64>,
    /// Decoupled weight decay of φ (`adamw`).
    pub weight_decay: f64,
    /// Factor of Σ w² over all kernels and logits weights of the CNN, generated and learned.
    pub l2: f64,
    /// Seeds initialisation and training episodes.
    pub seed: u64,
    /// Steps between log lines.
    pub log_every: u64,
    /// Steps between checkpoints `step-N`.
    pub checkpoint_every: u64,
    /// How many `step-N` checkpoints are kept; `last` and `best` always are.
    pub keep_checkpoints: usize,
    /// Shows test accuracy in TensorBoard beside validation; nothing is chosen by it.
    pub log_test_accuracy: bool,
}

/// How training is watched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ValidationConfig {
    /// Steps between validations.
    pub every: u64,
    /// Episodes of a validation, the same list each time.
    pub episodes: usize,
}

impl Default for DataConfig {
    fn default() -> Self {
        DataConfig {
            pack: PathBuf::from("data/synthetic.safetensors"),
            split: None,
        }
    }
}

impl Default for EpisodeConfig {
    fn default() -> Self {
        EpisodeConfig {
            way: 20,
            shot: 1,
            query: 3,
            evaluation_query: 5,
            query_sampling: QuerySampling::Balanced,
            rotations: Rotations::None,
            jitter: JitterOptions::default(),
        }
    }
}

impl Default for CnnOptions {
    fn default() -> Self {
        use BlockOperation::{Activation, BatchNorm, Convolution, Pool};
        CnnOptions {
            channels: 8,
            layers: 4,
            kernel_size: 3,
            block: vec![Convolution, BatchNorm, Activation, Pool],
        }
    }
}

impl Default for GeneratorOptions {
    fn default() -> Self {
        GeneratorOptions {
            label_dim: 32,
            image_embedding: 32,
            activation_embedding: None,
            logits_features: LogitsFeatures::Embedded,
            layers: 3,
            heads: 2,
            query_key_fraction: 1.0,
            value_fraction: 1.0,
            inner_fraction: 1.0,
        }
    }
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            steps: 10_000,
            tasks_per_step: 1,
            optimizer: OptimizerKind::Sgd,
            learning_rate: 0.02,
            schedule: ScheduleKind::Decay,
            warmup_steps: 0,
            decay_rate: 0.95,
            decay_steps: 100_000,
            clip_norm: None,
            weight_decay: 0.0,
            l2: 0.0,
            seed: 0,
            log_every: 100,
            checkpoint_every: 5_000,
            keep_checkpoints: 3,
            log_test_accuracy: false,
        }
    }
}

impl Default for ValidationConfig {
    fn default() -> Self {
        ValidationConfig {
            every: 1_000,
            episodes: 400,
        }
    }
}
