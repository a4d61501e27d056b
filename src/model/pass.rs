//! What goes along with a forward pass without being part of the model: dropout, training heads, weights to use instead
//! of generated ones, and a record of who attends to whom.
use std::cell::RefCell;

use tch::{Device, Tensor};

use crate::base::device::sent;
use crate::base::random::Random;
use crate::model::kernels::tape::Tape;
use crate::model::parameters::{ParameterId, Parameters, concatenated};
use crate::model::statistics::Statistics;
use crate::model::weights::LayerWeights;
use crate::settings::cnn::BatchNormMode;

/// What goes along; nothing by default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hooks<'a> {
    /// In training, if the experiment has any.
    pub dropout: Option<&'a Dropout>,
    /// In training, whether the training heads are to speak.
    pub heads: bool,
    /// Where gradients are asked for: lets operations bring a gradient of their own. Without it, or where no gradient
    /// is asked for, all goes by libtorch.
    pub tape: Option<&'a Tape>,
    /// For who wants to see attention maps.
    pub attention: Option<&'a AttentionRecord>,
    /// Of each convolution, weights that all tasks are to share instead of those made for them.
    pub instead: Option<&'a [Option<LayerWeights>]>,
}

impl Hooks<'_> {
    /// Elements of `values`, `[T, …]`, dropped with this probability, in training.
    pub(crate) fn drop(&self, probability: f64, values: Tensor) -> Tensor {
        match self.dropout {
            Some(dropout) if probability > 0.0 => dropout.apply(probability, values),
            _ => values,
        }
    }
}

/// Sets elements to 0 with a probability, and scales the others up so that the mean stays.
#[derive(Debug)]
pub struct Dropout {
    generators: RefCell<Vec<Random>>,
}

impl Dropout {
    /// With one generator a task, so that what is dropped does not depend on which tasks are computed together.
    pub fn new(generators: Vec<Random>) -> Dropout {
        let generators = RefCell::new(generators);
        Dropout { generators }
    }

    /// Of `[T, …]`.
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
        let factors = sent(factors, values.device());
        values * factors
    }
}

/// Attention maps in the order in which they were computed.
#[derive(Debug, Default)]
pub struct AttentionRecord {
    maps: RefCell<Vec<(ParameterId, Tensor)>>,
}

impl AttentionRecord {
    /// Notes the weights, `[T, heads, asking, attended]`, of the attention with this query matrix.
    pub(crate) fn note(&self, query: ParameterId, weights: &Tensor) {
        let map = (query, weights.detach());
        self.maps.borrow_mut().push(map);
    }

    /// Query matrix and weights of each attention.
    pub(crate) fn into_maps(self) -> Vec<(ParameterId, Tensor)> {
        self.maps.into_inner()
    }
}

/// What every layer of one forward pass may read, and the statistics it leaves behind.
#[derive(Debug)]
pub struct Pass<'a> {
    /// φ.
    pub parameters: &'a Parameters,
    /// Moving averages.
    pub buffers: &'a Parameters,
    /// How batches are normalised.
    pub batch_norm: BatchNormMode,
    /// `[T, N]`, 0 for support samples that do not count; none if all do.
    pub support_mask: Option<&'a Tensor>,
    /// Whether this is a training step (`running` then uses the batch).
    pub training: bool,
    /// T.
    pub tasks: i64,
    /// What goes along.
    pub hooks: Hooks<'a>,
}

impl Pass<'_> {
    /// Whether normalisation reads the moving averages.
    pub fn uses_running(&self) -> bool {
        self.batch_norm == BatchNormMode::Running && !self.training
    }
}

/// Support-set statistics in the order of the buffers, for the moving averages.
#[derive(Debug, Default)]
pub struct Observed(Vec<Tensor>);

impl Observed {
    /// Notes the statistics of one normalisation.
    pub fn note(&mut self, statistics: &Statistics) {
        for values in [&statistics.mean, &statistics.variance] {
            self.0.push(values.detach().mean_dim(0, false, None));
        }
    }

    /// One flat vector in the order of the buffers.
    pub fn flat(&self, device: Device) -> Tensor {
        concatenated(&self.0, device)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::base::random::Purpose;

    /// What is left of ones in the tasks with these indices.
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
    fn a_share_is_dropped_and_the_mean_stays() {
        let values = dropped(&[3]);
        let share = values
            .eq(0.0)
            .to_kind(Kind::Float)
            .mean(None)
            .double_value(&[]);
        assert!((share - 0.25).abs() < 0.03, "{share}");
        let left = values.max().double_value(&[]);
        assert!((left - 4.0 / 3.0).abs() < 1e-6, "{left}");
    }

    #[test]
    fn what_a_task_drops_does_not_depend_on_its_company() {
        assert_eq!(dropped(&[3, 7]).get(1), dropped(&[7]).get(0));
        assert_ne!(dropped(&[3]), dropped(&[7]));
    }
}
