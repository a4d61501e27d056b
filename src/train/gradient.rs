//! Loss and gradient of one optimizer step. Groups of tasks are computed in parallel and summed in task order.

use rayon::prelude::*;
use tch::{Device, Kind, Reduction, Tensor};

use crate::base::compute::{BatchSize, Compute};
use crate::base::random::{Purpose, Random};
use crate::episode::episode::Episode;
use crate::model::batch::{EpisodeBatch, IGNORED_CLASS, real_classes};
use crate::model::hypertransformer::HyperTransformer;
use crate::model::kernels::tape::Tape;
use crate::model::pass::{Dropout, Hooks, Mode};
use crate::model::state::ModelState;
use crate::report::averages::Averages;
use crate::settings::cnn::BatchNormMode;
use crate::settings::experiment::Experiment;
use crate::train::masking::Masking;
use crate::train::metrics::{TRAINING_PASS, TrainingPass};
use crate::train::schedule::warm_up_weights;

/// What a training step minimises, and how the model computes it.
#[derive(Clone, Copy, Debug)]
pub struct Objective {
    /// Which statistics batch-norm normalises with.
    pub batch_norm: BatchNormMode,
    /// Factor of the penalty Σ w² over the CNN's kernels and logits weights.
    pub l2: f64,
    /// Factor of the penalty Σ generated² / Σ learned² over kernels that are the sum of both.
    pub weight_variation: f64,
    /// ε of label smoothing.
    pub label_smoothing: f64,
    /// The step, counted from 0, and how many steps the warm-up heads are trained.
    pub warm_up: (u64, u64),
    /// Factor of the cross-entropy of the real-class head.
    pub real_class_weight: f64,
    /// Which support samples are hidden; `None`: no sample is.
    pub masking: Option<Masking>,
    /// Tasks in one batch on a CPU; on a GPU all tasks of the step are one batch.
    pub batch_size: usize,
    /// Seed of dropout.
    pub seed: u64,
}

impl Objective {
    /// The objective of `step`, counted from 0.
    pub fn at(experiment: &Experiment, step: u64) -> Objective {
        let train = &experiment.train;
        Objective {
            batch_norm: experiment.batch_norm,
            l2: train.l2,
            weight_variation: train.weight_variation,
            label_smoothing: train.label_smoothing,
            warm_up: (step, train.warmup_head_steps),
            real_class_weight: train.real_class_head.weight,
            masking: Masking::at(experiment, step),
            batch_size: train.tasks_together(),
            seed: train.seed,
        }
    }
}

/// Loss, gradient and statistics of a step, averaged over its T tasks.
#[derive(Debug)]
pub struct StepGradient {
    /// Cross-entropy and penalties.
    pub loss: f64,
    /// What is recorded of the step.
    pub(crate) averages: Averages,
    /// ∂loss/∂φ, `[φ]`
    pub gradient: Tensor,
    /// Statistics of the support activations, `[buffers]`, in the order of the buffers.
    pub(crate) observed: Tensor,
}

/// The episodes of a step. For a GPU they are already a batch, which is copied there during the step before.
#[derive(Debug)]
pub struct Prepared {
    episodes: Vec<Episode>,
    batch: Option<EpisodeBatch>,
}

impl Prepared {
    /// Prepares at least one episode for a step on `device`.
    pub fn new(episodes: Vec<Episode>, device: Device) -> Prepared {
        let batch = (device != Device::Cpu).then(|| EpisodeBatch::new(&episodes, device));
        Prepared { episodes, batch }
    }

    /// Number of episodes.
    pub(crate) fn count(&self) -> usize {
        self.episodes.len()
    }
}

/// Loss and gradient of the episodes of a step. On a CPU the result is bitwise the same for any number of threads.
pub fn step_gradient(
    compute: &Compute,
    model: &HyperTransformer,
    state: &ModelState,
    prepared: &Prepared,
    objective: Objective,
) -> StepGradient {
    let Prepared { episodes, batch } = prepared;
    if let Some(batch) = batch {
        let batch = batch.shallow_clone();
        return group_gradient(model, state, (episodes, batch), objective);
    }
    let share = 1.0 / episodes.len() as f64;
    let batch_size = BatchSize {
        cpu: objective.batch_size,
        ..BatchSize::ONE
    };
    let parts = compute.map(
        episodes,
        batch_size,
        || state.shallow_clone(),
        |group, state| {
            let batch = EpisodeBatch::new(group, compute.device);
            let share = share * group.len() as f64;
            let mut part = group_gradient(model, &state, (group, batch), objective);
            // In place, because φ can be large.
            StepGradient {
                loss: part.loss * share,
                averages: part.averages,
                gradient: part.gradient.g_mul_scalar_(share),
                observed: part.observed * share,
            }
        },
    );
    let mut averages = Averages::default();
    for part in &parts {
        averages.merge(&part.averages);
    }
    let observed = parts.iter().map(|part| part.observed.shallow_clone());
    StepGradient {
        loss: parts.iter().map(|part| part.loss).sum(),
        averages,
        observed: observed
            .reduce(|sum, part| sum + part)
            .expect("a step has at least one episode"),
        gradient: sum(
            compute,
            parts.into_iter().map(|part| part.gradient).collect(),
        ),
    }
}

/// Number of elements that stay in the cache of a core while all gradients are added to them.
const CACHED: i64 = 1 << 16;

/// Sum of at least one gradient, `[φ]` each, added in their order. Each thread adds a range of elements.
fn sum(compute: &Compute, mut gradients: Vec<Tensor>) -> Tensor {
    let length = gradients[0].numel() as i64;
    let piece = |start: i64| -> Vec<Tensor> {
        let count = CACHED.min(length - start);
        let parts = gradients.iter();
        parts.map(|all| all.narrow(0, start, count)).collect()
    };
    let pieces: Vec<_> = (0..length).step_by(CACHED as usize).map(piece).collect();
    compute.in_parallel(|| {
        pieces.into_par_iter().for_each(|mut parts| {
            let others = parts.split_off(1);
            for other in &others {
                let _ = parts[0].g_add_(other);
            }
        });
    });
    gradients.swap_remove(0)
}

fn cross_entropy(logits: &Tensor, labels: &Tensor, smoothing: f64, over: Reduction) -> Tensor {
    logits.cross_entropy_loss(labels, None::<&Tensor>, over, IGNORED_CLASS, smoothing)
}

/// Cross-entropy of logits, `[T · N, classes]`, averaged over the counted samples of each task and then over tasks, so that
/// the weight of a task does not depend on its batch. `classes`: `[T, N]`, `IGNORED_CLASS` for samples not counted.
fn per_task(logits: &Tensor, classes: &Tensor, smoothing: f64) -> Tensor {
    let flat = classes.flatten(0, 1);
    let each = cross_entropy(logits, &flat, smoothing, Reduction::None);
    let counted = classes
        .ne(IGNORED_CLASS)
        .sum_dim_intlist(-1, false, Kind::Float);
    let sums = each
        .view_as(classes)
        .sum_dim_intlist(-1, false, Kind::Float);
    (sums / counted.clamp_min(1.0)).mean(Kind::Float)
}

fn group_gradient(
    model: &HyperTransformer,
    state: &ModelState,
    (episodes, mut batch): (&[Episode], EpisodeBatch),
    objective: Objective,
) -> StepGradient {
    if let Some(masking) = objective.masking {
        let seen = |episode: &Episode| masking.seen(episode.index, &episode.support);
        batch.hide(&episodes.iter().map(seen).collect::<Vec<_>>());
    }
    let views = model.leaves(state);
    let generator =
        |episode: &Episode| Random::new(objective.seed, Purpose::Dropout, episode.index);
    let dropout = Dropout::new(episodes.iter().map(generator).collect());
    let tape = Tape::default();
    let (step, length) = objective.warm_up;
    let heads = model.training_heads().warm_up_count();
    let (head_weights, main_weight) = warm_up_weights(length, heads, step);
    let hooks = Hooks {
        dropout: Some(&dropout),
        heads: step < length || objective.real_class_weight > 0.0,
        tape: Some(&tape),
        ..Hooks::default()
    };
    let prediction = model.forward(&views, &batch, objective.batch_norm, Mode::Train, hooks);
    let logits = prediction.logits.flatten(0, 1);
    let labels = batch.query_labels.flatten(0, 1);
    let smoothing = objective.label_smoothing;
    let mean = |logits: &Tensor| cross_entropy(logits, &labels, smoothing, Reduction::Mean);
    let mut loss = mean(&logits) * main_weight;
    if let Some(heads) = &prediction.heads {
        for (logits, &weight) in heads.warm_up.iter().zip(&head_weights) {
            loss += mean(&logits.flatten(0, 1)) * weight;
        }
        if let Some(logits) = &heads.real_classes {
            let mut classes = real_classes(episodes, state.device());
            // A hidden sample must not influence the loss.
            if let Some(seen) = &batch.support_mask {
                classes = classes.masked_fill(&seen.eq(0.0), IGNORED_CLASS);
            }
            loss += per_task(logits, &classes, smoothing) * objective.real_class_weight;
        }
    }
    if objective.l2 > 0.0 {
        loss += prediction.theta.squared_norm() * objective.l2;
    }
    if objective.weight_variation > 0.0
        && let Some(variation) = &prediction.theta.variation
    {
        loss += variation * objective.weight_variation;
    }
    let gradient = views.gradient(tape, &loss);
    // Numbers are read last, so that a GPU is waited for at the end of the step and not within it.
    let pass = TrainingPass {
        loss: loss.double_value(&[]),
        batch,
        prediction,
    };
    let mut averages = Averages::default();
    let tasks = episodes.len() as f64;
    tch::no_grad(|| averages.measure(TRAINING_PASS, &pass, tasks));
    StepGradient {
        loss: pass.loss,
        averages,
        gradient,
        observed: (pass.prediction.observed)
            .expect("a forward pass of training returns statistics"),
    }
}
