//! One forward pass: its purpose, how it normalises, and optional hooks (dropout, training heads, replaced weights,
//! custom gradients, recorded attention).

use std::cell::RefCell;

use tch::{Device, Tensor};

use crate::base::device::copy_to_device;
use crate::base::random::Random;
use crate::model::batch::EpisodeBatch;
use crate::model::kernels::tape::Tape;
use crate::model::parameters::{ParameterId, Parameters, concatenated};
use crate::model::state::Views;
use crate::model::statistics::Statistics;
use crate::model::weights::LayerWeights;
use crate::settings::cnn::BatchNormMode;

/// The purpose of a forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// A training step: support statistics are recorded for the moving averages, and `batch_norm: running` normalises
    /// by the batch.
    Train,
    /// Generation or evaluation.
    Infer,
}

/// The statistics that a forward pass normalises with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Normalization {
    /// Support and query images are each normalised by the statistics of their own batch.
    OwnBatch,
    /// All images are normalised by the statistics of the support set.
    Support,
    /// All images are normalised by the moving averages.
    MovingAverages,
}

impl Normalization {
    /// What a setting means in this mode.
    pub fn new(setting: BatchNormMode, mode: Mode) -> Normalization {
        match (setting, mode) {
            (BatchNormMode::Query, _) | (BatchNormMode::Running, Mode::Train) => {
                Normalization::OwnBatch
            }
            (BatchNormMode::Support, _) => Normalization::Support,
            (BatchNormMode::Running, Mode::Infer) => Normalization::MovingAverages,
        }
    }
}

/// Optional parts of a forward pass; none by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hooks<'a> {
    /// Dropout, in training.
    pub dropout: Option<&'a Dropout>,
    /// Whether the training heads are computed.
    pub heads: bool,
    /// Collects operations with a custom backward pass, where gradients are needed. Without it libtorch computes
    /// everything that needs a gradient.
    pub tape: Option<&'a Tape>,
    /// Records attention maps.
    pub attention: Option<&'a AttentionRecord>,
    /// For each convolution, weights that replace the generated ones in all tasks.
    pub replaced: Option<&'a [Option<LayerWeights>]>,
}

impl Hooks<'_> {
    /// Applies dropout to `values`, `[T, …]`, in training.
    pub(crate) fn drop(&self, probability: f64, values: Tensor) -> Tensor {
        match self.dropout {
            Some(dropout) if probability > 0.0 => dropout.apply(probability, values),
            _ => values,
        }
    }
}

/// Sets elements to 0 with a given probability and scales the others so that the expected value stays.
#[derive(Debug)]
pub struct Dropout {
    generators: RefCell<Vec<Random>>,
}

impl Dropout {
    /// One random generator per task, so that the dropped elements of a task do not depend on its batch.
    pub fn new(generators: Vec<Random>) -> Dropout {
        let generators = RefCell::new(generators);
        Dropout { generators }
    }

    /// Drops elements of `values`, `[T, …]`.
    fn apply(&self, probability: f64, values: Tensor) -> Tensor {
        let mut generators = self.generators.borrow_mut();
        let elements = values.numel() / generators.len();
        let kept = (1.0 / (1.0 - probability)) as f32;
        let mut factors = Vec::with_capacity(values.numel());
        for generator in generators.iter_mut() {
            factors.extend((0..elements).map(|_| {
                match f64::from(generator.unit_f32()) < probability {
                    true => 0.0,
                    false => kept,
                }
            }));
        }
        let factors = Tensor::from_slice(&factors).view(&values.size()[..]);
        let factors = copy_to_device(factors, values.device());
        values * factors
    }
}

/// Attention maps in the order in which they were computed.
#[derive(Debug, Default)]
pub struct AttentionRecord {
    maps: RefCell<Vec<(ParameterId, Tensor)>>,
}

impl AttentionRecord {
    /// Records the attention weights, `[T, heads, queries, keys]`, of the attention with this query matrix.
    pub(crate) fn record(&self, query_matrix: ParameterId, weights: &Tensor) {
        let map = (query_matrix, weights.detach());
        self.maps.borrow_mut().push(map);
    }

    /// Query matrix and weights of each attention.
    pub(crate) fn into_maps(self) -> Vec<(ParameterId, Tensor)> {
        self.maps.into_inner()
    }
}

/// What every layer of one forward pass reads.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// φ.
    pub parameters: &'a Parameters,
    /// Moving averages.
    pub buffers: &'a Parameters,
    /// The statistics that activations are normalised with.
    pub normalization: Normalization,
    /// `[T, N]`, 0 for hidden support samples, 1 for others; none if no sample is hidden.
    pub support_mask: Option<&'a Tensor>,
    /// T.
    pub tasks: i64,
    /// Optional parts.
    pub hooks: Hooks<'a>,
}

impl<'a> Pass<'a> {
    /// A pass over `batch` with these parameters.
    pub(crate) fn new(
        views: &'a Views,
        batch: &'a EpisodeBatch,
        normalization: Normalization,
        hooks: Hooks<'a>,
    ) -> Pass<'a> {
        Pass {
            parameters: &views.parameters,
            buffers: &views.buffers,
            normalization,
            support_mask: batch.support_mask.as_ref(),
            tasks: batch.support.size()[0],
            hooks,
        }
    }
}

/// The support statistics of one pass, in the order of the buffers, which training averages.
#[derive(Debug)]
pub struct Observed(Option<Vec<Tensor>>);

impl Observed {
    /// An empty record in training; at inference one that records nothing.
    pub fn new(mode: Mode) -> Observed {
        Observed((mode == Mode::Train).then(Vec::new))
    }

    /// Records the statistics of one normalisation, averaged over tasks.
    pub fn record(&mut self, statistics: &Statistics) {
        if let Some(recorded) = &mut self.0 {
            for values in [&statistics.mean, &statistics.variance] {
                recorded.push(values.detach().mean_dim(0, false, None));
            }
        }
    }

    /// In training, all statistics as one vector in the order of the buffers.
    pub fn flat(&self, device: Device) -> Option<Tensor> {
        let recorded = self.0.as_ref()?;
        Some(concatenated(recorded, device))
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::base::random::Purpose;

    /// Dropout applied to ones in the tasks with these indices.
    fn dropped(tasks: &[u64]) -> Tensor {
        let generators = tasks
            .iter()
            .map(|&index| Random::new(0, Purpose::Dropout, index));
        let dropout = Dropout::new(generators.collect());
        let hooks = Hooks {
            dropout: Some(&dropout),
            ..Hooks::default()
        };
        let ones = Tensor::ones([tasks.len() as i64, 50, 80], (Kind::Float, Device::Cpu));
        hooks.drop(0.0, hooks.drop(0.25, ones))
    }

    #[test]
    fn dropout_drops_a_share_and_keeps_the_mean() {
        let values = dropped(&[3]);
        let share = values
            .eq(0.0)
            .to_kind(Kind::Float)
            .mean(None)
            .double_value(&[]);
        assert!((share - 0.25).abs() < 0.03, "{share}");
        let kept = values.max().double_value(&[]);
        assert!((kept - 4.0 / 3.0).abs() < 1e-6, "{kept}");
    }

    #[test]
    fn dropped_elements_of_a_task_do_not_depend_on_the_batch() {
        assert_eq!(dropped(&[3, 7]).get(1), dropped(&[7]).get(0));
        assert_ne!(dropped(&[3]), dropped(&[7]));
    }
}
