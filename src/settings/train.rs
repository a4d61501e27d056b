//! Settings of training.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_yaml::Mapping;

/// The optimizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OptimizerKind {
    /// Stochastic gradient descent.
    Sgd,
    /// Stochastic gradient descent with momentum 0.9.
    Momentum,
    /// Adam with decoupled weight decay.
    Adamw,
}

/// The parameters to which weight decay applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightDecayOn {
    /// Kernels and matrices, but not biases, gains of normalisations, output scales or embeddings.
    Matrices,
    /// All of φ.
    All,
}

impl WeightDecayOn {
    /// The value for configurations written before this key existed.
    fn for_older_runs() -> WeightDecayOn {
        WeightDecayOn::All
    }
}

/// The learning-rate schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ScheduleKind {
    /// `learning_rate` · `decay_rate`^(step / `decay_steps`), continuously (paper, Appendix C).
    Decay,
    /// Linear warm-up over `warmup_steps`, then a half cosine down to 0 at `steps`.
    Cosine,
}

/// Precision of convolutions and matrix products in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floating point.
    Full,
    /// TF32 on a GPU, bfloat16 on a CPU that supports it, otherwise 32 bits. Storage and sums always have 32 bits.
    Reduced,
}

/// Settings of training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Number of optimizer steps, before those of `phases`.
    pub steps: u64,
    /// Parts of training that follow, each with changed settings.
    pub phases: Vec<PhaseConfig>,
    /// T, episodes per step.
    pub tasks_per_step: usize,
    /// Number of episodes that a CPU thread computes as one batch. Null: half of `tasks_per_step`, at least 1, at most
    /// 8. Results depend on this number, but not on the number of threads.
    pub tasks_together: Option<usize>,
    /// Precision of training; all other commands use 32 bits.
    pub precision: Precision,
    /// The optimizer.
    pub optimizer: OptimizerKind,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Factor on the learning rate of the weight generators.
    pub generator_rate: f64,
    /// Factor on the learning rate of the generators of convolutions. Null: `generator_rate`.
    pub convolution_generator_rate: Option<f64>,
    /// The learning-rate schedule.
    pub schedule: ScheduleKind,
    /// Number of linear warm-up steps (`cosine` only); a tenth of `steps` if it is not less than `steps`.
    pub warmup_steps: u64,
    /// Factor on the learning rate per `decay_steps` steps (`decay` only).
    pub decay_rate: f64,
    /// Number of steps per factor `decay_rate` (`decay` only).
    pub decay_steps: u64,
    /// Largest gradient norm; longer gradients are scaled down to it. Null does not clip.
    pub clip_norm: Option<f64>,
    /// Decoupled weight decay (`adamw` only).
    pub weight_decay: f64,
    /// The parameters to which weight decay applies. Configurations of older runs lack this key and mean `all`.
    #[serde(default = "WeightDecayOn::for_older_runs")]
    pub weight_decay_on: WeightDecayOn,
    /// β₂ of AdamW, decay rate of its moving average of squared gradients.
    pub beta2: f64,
    /// Factor of Σ w² over all kernels and logits weights of the CNN, generated or learned, in the loss.
    pub l2: f64,
    /// Factor in the loss of Σ generated² / Σ learned² for each kernel that is the sum of both
    /// (`generator.learned_base`).
    pub weight_variation: f64,
    /// ε of label smoothing: the target of each class is ε / n, plus 1 − ε for the correct class.
    pub label_smoothing: f64,
    /// Number of initial steps in which auxiliary heads after the convolutions are trained in turn, before the logits
    /// layer; 0 disables the heads.
    pub warmup_head_steps: u64,
    /// An auxiliary classifier of the real classes on the image embedding, whose loss is added.
    pub real_class_head: RealClassHead,
    /// Hiding of support samples in training.
    pub masking: MaskingOptions,
    /// Seed of the initial φ and of the training episodes.
    pub seed: u64,
    /// Checkpoint of another run whose φ replaces `initialization` as the start of training.
    pub start_from: Option<PathBuf>,
    /// Steps between log lines.
    pub log_every: u64,
    /// Steps between checkpoints `step-N`.
    pub checkpoint_every: u64,
    /// Minutes between saves of the checkpoint `last`, from which a killed run is resumed; 0: only at validations, at
    /// `step-N` and at the end.
    pub checkpoint_minutes: f64,
    /// Number of `step-N` checkpoints to keep; `last` and `best` are always kept.
    pub keep_checkpoints: usize,
    /// Whether the test accuracy is measured at validations too; it selects nothing.
    pub log_test_accuracy: bool,
    /// Whether TensorBoard shows the distribution of parameters at validations.
    pub log_histograms: bool,
}

/// A part of training after the first `steps` steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhaseConfig {
    /// Number of optimizer steps of this part.
    pub steps: u64,
    /// Settings that differ from those of the experiment, in sections as there.
    #[serde(default)]
    pub settings: Mapping,
}

/// An auxiliary classifier that predicts the real classes of labelled support images from their embeddings s_φ(x).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RealClassHead {
    /// Factor of its cross-entropy in the loss; 0 disables it.
    pub weight: f64,
    /// Number of training classes; four times as many with `episode.rotations: as_classes`.
    pub classes: usize,
}

/// Schedule of the probability of hiding a support sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaskingSchedule {
    /// Falls linearly from its highest value to 0 over the first half of the steps (footnote 4 of the paper).
    Decay,
    /// Drawn uniformly between 0 and its highest value in each step (the authors' program).
    Uniform,
}

/// Hiding of support samples in training; each is hidden independently with the given probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaskingOptions {
    /// Highest probability of hiding an unlabelled sample.
    pub unlabeled: f64,
    /// Highest probability of hiding a labelled sample; one per class always remains.
    pub labeled: f64,
    /// Schedule of both probabilities.
    pub schedule: MaskingSchedule,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            steps: 10_000,
            phases: Vec::new(),
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
            checkpoint_minutes: 5.0,
            keep_checkpoints: 3,
            log_test_accuracy: true,
            log_histograms: false,
        }
    }
}

impl TrainConfig {
    /// Number of tasks in one batch of a CPU thread. Larger batches are faster, but by default there are at least two
    /// batches per step, so that two threads have work.
    pub fn tasks_together(&self) -> usize {
        let default = (self.tasks_per_step / 2).clamp(1, 8);
        self.tasks_together.unwrap_or(default)
    }

    /// Number of warm-up steps that are taken: `warmup_steps`, or a tenth of a training that is not longer than that.
    pub fn warmup(&self) -> u64 {
        match self.warmup_steps < self.steps {
            true => self.warmup_steps,
            false => self.steps / 10,
        }
    }

    /// Says that the warm-up is shorter than the setting, if it is.
    pub fn shortened_warmup(&self) -> Option<String> {
        let (asked, taken) = (self.warmup_steps, self.warmup());
        (self.schedule == ScheduleKind::Cosine && asked != taken).then(|| {
            format!(
                "train.warmup_steps: {asked} is not less than train.steps ({}): the learning rate rises for {taken} steps",
                self.steps
            )
        })
    }

    /// Factor on the learning rate of the generators of convolutions.
    pub fn convolution_generator_rate(&self) -> f64 {
        self.convolution_generator_rate
            .unwrap_or(self.generator_rate)
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
