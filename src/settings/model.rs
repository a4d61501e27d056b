//! The options that determine a model: its parameters and what it computes.

use crate::settings::cnn::CnnOptions;
use crate::settings::experiment::Experiment;
use crate::settings::generator::{GeneratorOptions, Initialization};

/// The options of a HyperTransformer, part of an [`Experiment`].
#[derive(Clone, Debug, PartialEq)]
pub struct ModelOptions {
    /// The target CNN.
    pub cnn: CnnOptions,
    /// The weight generators.
    pub generator: GeneratorOptions,
    /// The initial values of φ.
    pub initialization: Initialization,
    /// n, the number of classes of an episode.
    pub way: usize,
    /// Whether support sets contain unlabelled samples.
    pub has_unlabeled: bool,
    /// Classifiers that exist only for training.
    pub training_heads: TrainingHeadOptions,
    /// Seed of the orthogonal label embeddings of `initialization: gradient_step`.
    pub seed: u64,
}

/// Classifiers that exist only for training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TrainingHeadOptions {
    /// Whether a generated logits layer follows each convolution except the last.
    pub warm_up: bool,
    /// Number of classes of a classifier of real classes on the image embedding; none leaves it out.
    pub real_classes: Option<usize>,
}

impl ModelOptions {
    /// Number of label embeddings: n, plus one for unlabelled samples.
    pub fn labels(&self) -> usize {
        self.way + usize::from(self.has_unlabeled)
    }
}

impl From<&Experiment> for ModelOptions {
    fn from(experiment: &Experiment) -> ModelOptions {
        let (episode, train) = (&experiment.episode, &experiment.train);
        let real_class_head = &train.real_class_head;
        ModelOptions {
            cnn: experiment.cnn.clone(),
            generator: experiment.generator.clone(),
            initialization: experiment.initialization,
            way: episode.way,
            has_unlabeled: episode.unlabeled > 0,
            training_heads: TrainingHeadOptions {
                warm_up: train.warmup_head_steps > 0,
                real_classes: (real_class_head.weight > 0.0).then_some(real_class_head.classes),
            },
            seed: train.seed,
        }
    }
}
