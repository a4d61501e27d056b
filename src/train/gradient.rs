//! Loss and gradient of one optimizer step: tasks computed apart, summed in task order.
use rayon::prelude::*;
use tch::{Device, Kind, Reduction, Tensor};

use crate::base::compute::{Compute, Together};
use crate::base::random::{Purpose, Random};
use crate::episode::episode::Episode;
use crate::model::batch::{EpisodeBatch, PASSED_OVER, real_classes};
use crate::model::hypertransformer::HyperTransformer;
use crate::model::kernels::tape::Tape;
use crate::model::pass::{Dropout, Hooks};
use crate::settings::cnn::BatchNormMode;
use crate::settings::experiment::Experiment;
use crate::train::masking::Masking;
use crate::train::schedule::warm_up_weights;

/// What training asks of the model in a step.
#[derive(Clone, Copy, Debug)]
pub struct Objective {
    /// How batches are normalised.
    pub batch_norm: BatchNormMode,
    /// Factor of Σ w² over the CNN's kernels and logits weights.
    pub l2: f64,
    /// Factor of Σ generated² / Σ learned² over kernels that are the sum of both.
    pub weight_variation: f64,
    /// ε of the targets.
    pub label_smoothing: f64,
    /// Step, counted from 0, and steps of the warm-up by heads.
    pub warm_up: (u64, u64),
    /// Factor of the cross-entropy of real classes.
    pub real_class_weight: f64,
    /// Which support samples are hidden.
    pub masking: Option<Masking>,
    /// Tasks computed as one batch on a CPU; on a GPU all are.
    pub together: usize,
    /// Seed of what dropout drops.
    pub seed: u64,
}

impl Objective {
    /// That of a step, counted from 0.
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
            together: train.tasks_together(),
            seed: train.seed,
        }
    }
}

/// Means over the T tasks of a step.
#[derive(Debug)]
pub struct StepGradient {
    /// Cross-entropy and penalties.
    pub loss: f64,
    /// Fraction of queries answered right.
    pub accuracy: f64,
    /// ∂loss/∂φ, `[φ]`
    pub gradient: Tensor,
    /// Support statistics, in the order of the buffers.
    pub observed: Tensor,
}

/// The episodes of a step; for a GPU already a batch, on its way there while the step before is computed.
#[derive(Debug)]
pub struct Prepared {
    episodes: Vec<Episode>,
    batch: Option<EpisodeBatch>,
}

impl Prepared {
    /// Of at least one episode.
    pub fn new(episodes: Vec<Episode>, device: Device) -> Prepared {
        let batch = (device != Device::Cpu).then(|| EpisodeBatch::new(&episodes, device));
        Prepared { episodes, batch }
    }

    /// How many episodes there are.
    pub fn count(&self) -> usize {
        self.episodes.len()
    }
}

/// Loss, accuracy and gradient of a step's episodes; on a CPU the same bits for any number of threads.
pub fn step_gradient(
    compute: &Compute,
    model: &HyperTransformer,
    phi: &Tensor,
    buffers: &Tensor,
    prepared: &Prepared,
    objective: Objective,
) -> StepGradient {
    let Prepared { episodes, batch } = prepared;
    if let Some(batch) = batch {
        let batch = batch.shallow_clone();
        return group_gradient(model, [phi, buffers], (episodes, batch), objective);
    }
    let share = 1.0 / episodes.len() as f64;
    let together = Together {
        cpu: objective.together,
        ..Together::ALONE
    };
    let parts = compute.map(
        episodes,
        together,
        [phi, buffers],
        |group, [phi, buffers]| {
            let batch = EpisodeBatch::new(group, compute.device);
            let share = share * group.len() as f64;
            let mut part = group_gradient(model, [&phi, &buffers], (group, batch), objective);
            // In place, for φ can be large.
            StepGradient {
                loss: part.loss * share,
                accuracy: part.accuracy * share,
                gradient: part.gradient.g_mul_scalar_(share),
                observed: part.observed * share,
            }
        },
    );
    let of_parts = |number: fn(&StepGradient) -> f64| parts.iter().map(number).sum();
    let observed = parts.iter().map(|part| part.observed.shallow_clone());
    StepGradient {
        loss: of_parts(|part| part.loss),
        accuracy: of_parts(|part| part.accuracy),
        observed: observed
            .reduce(|sum, part| sum + part)
            .expect("a step has at least one episode"),
        gradient: sum(
            compute,
            parts.into_iter().map(|part| part.gradient).collect(),
        ),
    }
}

/// Elements that stay in a core's cache while all parts are added to them.
const CACHED: i64 = 1 << 16;

/// The sum of gradients, `[φ]`, at least one, in their order; all threads add, each to other elements.
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
    logits.cross_entropy_loss(labels, None::<&Tensor>, over, PASSED_OVER, smoothing)
}

/// Mean over tasks of the cross-entropy of logits, `[T · N, classes]`, of each task's samples that are not passed over, so
/// that a task weighs the same whatever it is computed with. `classes`: `[T, N]`.
fn per_task(logits: &Tensor, classes: &Tensor, smoothing: f64) -> Tensor {
    let flat = classes.flatten(0, 1);
    let each = cross_entropy(logits, &flat, smoothing, Reduction::None);
    let counted = classes
        .ne(PASSED_OVER)
        .sum_dim_intlist(-1, false, Kind::Float);
    let sums = each
        .view_as(classes)
        .sum_dim_intlist(-1, false, Kind::Float);
    (sums / counted.clamp_min(1.0)).mean(Kind::Float)
}

fn group_gradient(
    model: &HyperTransformer,
    [phi, buffers]: [&Tensor; 2],
    (episodes, mut batch): (&[Episode], EpisodeBatch),
    objective: Objective,
) -> StepGradient {
    if let Some(masking) = objective.masking {
        let seen = |episode: &Episode| masking.seen(episode.index, &episode.support);
        batch.hide(&episodes.iter().map(seen).collect::<Vec<_>>());
    }
    let views = model.leaves(phi, buffers);
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
    let prediction = model.forward(&views, &batch, objective.batch_norm, true, hooks);
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
            let mut classes = real_classes(episodes, phi.device());
            // A hidden sample changes nothing, its class least of all.
            if let Some(seen) = &batch.support_mask {
                classes = classes.masked_fill(&seen.eq(0.0), PASSED_OVER);
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
    let right = logits.detach().argmax(-1, false).eq_tensor(&labels);
    let accuracy = right.to_kind(Kind::Float).mean(Kind::Float);
    let gradient = views.gradient(tape, &loss);
    // Numbers are read last: a GPU is waited for where a step ends, not within it.
    StepGradient {
        loss: loss.double_value(&[]),
        accuracy: accuracy.double_value(&[]),
        gradient,
        observed: prediction.observed.expect("training notes statistics"),
    }
}
