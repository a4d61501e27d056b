//! The experiment file's section on how φ is learned.
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

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

/// Which parameters weight decay shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightDecayOn {
    /// Kernels and matrices; biases, gains of normalisations, output scales and embeddings are left alone.
    Matrices,
    /// Every element of φ.
    All,
}

impl WeightDecayOn {
    /// What was done before there was a choice.
    fn before_the_key() -> WeightDecayOn {
        WeightDecayOn::All
    }
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

/// How exact products of training are: convolutions and matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    Full,
    /// TF32 on a GPU, bfloat16 on a CPU that multiplies it, else 32 bits. What is stored and summed has 32 bits.
    Reduced,
}

/// How φ is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimizer steps.
    pub steps: u64,
    /// T, episodes a step.
    pub tasks_per_step: usize,
    /// How many of them are one batch of a CPU thread, the same for any number of threads; null: half of T, at most 8.
    pub tasks_together: Option<usize>,
    /// How exact products are in training; all other commands take 32 bits.
    pub precision: Precision,
    /// Which optimizer.
    pub optimizer: OptimizerKind,
    /// Learning rate at its highest.
    pub learning_rate: f64,
    /// Learning rate of the weight generators, as a factor of the one of the rest of φ.
    pub generator_rate: f64,
    /// The same of those of convolutions; null: as `generator_rate`.
    pub convolution_generator_rate: Option<f64>,
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
    /// Decoupled weight decay (`adamw`).
    pub weight_decay: f64,
    /// What it shrinks. A run that was written out without this key goes on with `all`.
    #[serde(default = "WeightDecayOn::before_the_key")]
    pub weight_decay_on: WeightDecayOn,
    /// β2 of AdamW: share of the old value in its mean of squared gradients.
    pub beta2: f64,
    /// Factor of Σ w² over all kernels and logits weights of the CNN, generated and learned.
    pub l2: f64,
    /// Factor of Σ generated² / Σ learned² of each kernel that is the sum of both (`generator.learned_base`).
    pub weight_variation: f64,
    /// ε of the training targets: 1 − ε for the right class, ε / n for each.
    pub label_smoothing: f64,
    /// Steps over which heads after the convolutions lead the way, one after the other, before the logits layer; 0: none.
    pub warmup_head_steps: u64,
    /// A classifier of real classes on the image embedding, whose loss is added.
    pub real_class_head: RealClassHead,
    /// How training hides support samples.
    pub masking: MaskingOptions,
    /// Seeds initialisation and training episodes.
    pub seed: u64,
    /// Checkpoint of another run whose φ training starts from, instead of `initialization`.
    pub start_from: Option<PathBuf>,
    /// Steps between log lines.
    pub log_every: u64,
    /// Steps between checkpoints `step-N`.
    pub checkpoint_every: u64,
    /// How many `step-N` checkpoints are kept; `last` and `best` always are.
    pub keep_checkpoints: usize,
    /// Shows test accuracy in TensorBoard beside validation; nothing is chosen by it.
    pub log_test_accuracy: bool,
}

/// A classifier of the real classes of labelled support images on their embedding s_φ.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RealClassHead {
    /// Factor of its cross-entropy; 0 leaves it out.
    pub weight: f64,
    /// Number of training classes, four times as many with `episode.rotations: as_classes`.
    pub classes: usize,
}

/// How the probability of hiding a support sample moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskingSchedule {
    /// From its highest down to 0 over the first half of the steps (paper, footnote 4).
    Decay,
    /// Drawn anew each step, uniform from 0 to its highest (the authors' program).
    Uniform,
}

/// How training hides support samples: each with this probability, on its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskingOptions {
    /// Highest probability of hiding an unlabelled sample.
    pub unlabeled: f64,
    /// Highest probability of hiding a labelled sample; one a class always stays.
    pub labeled: f64,
    /// How the probabilities move.
    pub schedule: MaskingSchedule,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            steps: 10_000,
            tasks_per_step: 1,
            tasks_together: None,
            precision: Precision::Full,
            optimizer: OptimizerKind::Sgd,
            learning_rate: 0.02,
            generator_rate: 1.0,
            convolution_generator_rate: None,
            schedule: ScheduleKind::Decay,
            warmup_steps: 0,
            decay_rate: 0.95,
            decay_steps: 100_000,
            clip_norm: None,
            weight_decay: 0.0,
            weight_decay_on: WeightDecayOn::Matrices,
            beta2: 0.999,
            l2: 0.0,
            weight_variation: 0.0,
            label_smoothing: 0.0,
            warmup_head_steps: 0,
            real_class_head: RealClassHead::default(),
            masking: MaskingOptions::default(),
            seed: 0,
            start_from: None,
            log_every: 100,
            checkpoint_every: 5_000,
            keep_checkpoints: 3,
            log_test_accuracy: false,
        }
    }
}

impl TrainConfig {
    /// Tasks in one batch of a CPU thread: more are faster, but two threads are to have work.
    pub fn tasks_together(&self) -> usize {
        let usual = (self.tasks_per_step / 2).clamp(1, 8);
        self.tasks_together.unwrap_or(usual)
    }

    /// Factor of the learning rate of generators of convolutions.
    pub fn convolution_generator_rate(&self) -> f64 {
        let usual = self.generator_rate;
        self.convolution_generator_rate.unwrap_or(usual)
    }
}

impl Default for MaskingOptions {
    fn default() -> Self {
        MaskingOptions {
            unlabeled: 0.0,
            labeled: 0.0,
            schedule: MaskingSchedule::Decay,
        }
    }
}
