//! Batch normalisation by the statistics of the query set, of the support set, or by moving averages.
//!
//! The choice decides whether an accuracy is inductive: with `query` the other queries of an episode influence the
//! logits of a query, as in the authors' program; with `support` and `running` they do not.

use tch::Tensor;

use crate::model::kernels::tasks_as_channels::{
    channels_to_tasks, one_call_is_faster, tasks_to_channels,
};
use crate::model::parameters::{Initial, ParameterId, ParameterKind, ParameterLayout, Parameters};
use crate::model::pass::{Normalization, Pass};
use crate::model::statistics::Statistics;

/// Added to variances, as in the authors' program.
const EPSILON: f64 = 1e-3;

/// Normalisation as an affine map per channel, x ↦ scale · x + shift.
#[derive(Debug)]
pub struct Affine {
    /// γ / √(variance + ε), `[1 or T, C]`.
    pub scale: Tensor,
    /// β − mean · scale, `[1 or T, C]`.
    pub shift: Tensor,
}

impl Affine {
    /// Normalisation with these statistics, γ and β (`[C]` or `[T, C]`).
    pub fn normalising((gamma, beta): &(Tensor, Tensor), statistics: &Statistics) -> Affine {
        let scale = gamma / (&statistics.variance + EPSILON).sqrt();
        let shift = beta - &statistics.mean * &scale;
        Affine { scale, shift }
    }

    /// Applies the map to `activations`, `[T·N, C, H, W]`.
    pub fn apply(&self, activations: &Tensor, tasks: i64) -> Tensor {
        map_channels(
            activations,
            tasks,
            [&self.shift, &self.scale],
            |values, [shift, scale]| shift.addcmul(values, scale),
        )
    }
}

/// Adds `shift`, `[1 or T, C]`, to the channels of `activations`, `[T·N, C, H, W]`.
pub(crate) fn shifted(activations: &Tensor, shift: &Tensor, tasks: i64) -> Tensor {
    map_channels(activations, tasks, [shift], |values, [shift]| {
        values + shift
    })
}

/// Applies an elementwise map to `activations`, `[T·N, C, H, W]`, and to values per channel, `[1 or T, C]`, broadcast.
fn map_channels<const COUNT: usize>(
    activations: &Tensor,
    tasks: i64,
    channel_values: [&Tensor; COUNT],
    map: impl Fn(&Tensor, [&Tensor; COUNT]) -> Tensor,
) -> Tensor {
    let size = activations.size();
    let views = channel_values.map(|values| match values.size()[0] {
        1 => values.view([1, -1, 1, 1]),
        tasks => values.view([tasks, 1, -1, 1, 1]),
    });
    let views = views.each_ref();
    if views.iter().all(|view| view.dim() == 4) {
        return map(activations, views);
    }
    let grouped = activations.view([tasks, size[0] / tasks, size[1], size[2], size[3]]);
    map(&grouped, views).view(&size[..])
}

/// Learned γ and β of a normalisation.
#[derive(Clone, Copy, Debug)]
pub struct GammaBeta {
    gamma: ParameterId,
    beta: ParameterId,
}

impl GammaBeta {
    /// Registers `{name}.weight`, γ = 1, and `{name}.bias`, β = 0.
    pub fn new(layout: &mut ParameterLayout, name: &str, channels: usize) -> GammaBeta {
        let mut add = |part: &str, kind, start| {
            let name = format!("{name}.{part}");
            layout.add(name, &[channels as i64], kind, Initial::Constant(start))
        };
        GammaBeta {
            gamma: add("weight", ParameterKind::Gain, 1.0),
            beta: add("bias", ParameterKind::Bias, 0.0),
        }
    }

    /// The parameters γ and β.
    pub(crate) fn ids(self) -> (ParameterId, ParameterId) {
        (self.gamma, self.beta)
    }

    /// γ and β, `[C]`.
    pub fn values(self, parameters: &Parameters) -> (Tensor, Tensor) {
        let view = |id| parameters.get(id).shallow_clone();
        (view(self.gamma), view(self.beta))
    }
}

/// Moving averages of the support statistics of one normalisation.
#[derive(Clone, Copy, Debug)]
pub struct MovingAverages {
    mean: ParameterId,
    variance: ParameterId,
}

impl MovingAverages {
    /// Registers `{name}.running_mean`, 0, and `{name}.running_variance`, 1.
    pub fn new(buffers: &mut ParameterLayout, name: &str, channels: usize) -> MovingAverages {
        let mut add = |part: &str, start| {
            let (name, start) = (format!("{name}.{part}"), Initial::Constant(start));
            buffers.add(name, &[channels as i64], ParameterKind::Statistic, start)
        };
        MovingAverages {
            mean: add("running_mean", 0.0),
            variance: add("running_variance", 1.0),
        }
    }

    /// The moving averages, `[1, C]`.
    pub fn statistics(self, buffers: &Parameters) -> Statistics {
        Statistics {
            mean: buffers.get(self.mean).unsqueeze(0),
            variance: buffers.get(self.variance).unsqueeze(0),
        }
    }
}

/// A normalisation with learned γ and β that only support images pass, as in the image embedding.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm {
    learned: GammaBeta,
    averages: MovingAverages,
}

impl BatchNorm {
    /// Registers γ and β in `layout` and the moving averages in `buffers`.
    pub fn new(
        layout: &mut ParameterLayout,
        buffers: &mut ParameterLayout,
        name: &str,
        channels: usize,
    ) -> BatchNorm {
        BatchNorm {
            learned: GammaBeta::new(layout, name, channels),
            averages: MovingAverages::new(buffers, name, channels),
        }
    }

    /// Normalises support activations, `[T·N, C, H, W]`, by their own statistics or by the moving averages. Returns
    /// these statistics too, without gradient.
    pub fn forward(&self, pass: &Pass, activations: &Tensor) -> (Tensor, Statistics) {
        let (gamma, beta) = &self.learned.values(pass.parameters);
        let by = |statistics: Statistics| {
            let affine =
                Affine::normalising(&(gamma.shallow_clone(), beta.shallow_clone()), &statistics);
            (affine.apply(activations, pass.tasks), statistics)
        };
        if pass.normalization == Normalization::MovingAverages {
            return by(self.averages.statistics(pass.buffers));
        }
        if pass.support_mask.is_some() {
            return by(Statistics::of(activations, pass.tasks, pass.support_mask));
        }
        // One kernel forward and one backward per task instead of about twenty.
        let none = None::<&Tensor>;
        let normalise = |values: &Tensor, gamma: &Tensor, beta: &Tensor| {
            values.native_batch_norm(Some(gamma), Some(beta), none, none, true, 0.0, EPSILON)
        };
        if one_call_is_faster(activations, pass.tasks) {
            let as_channels = tasks_to_channels(activations, pass.tasks);
            let [gamma, beta] = [gamma, beta].map(|values| values.repeat(pass.tasks));
            let (output, mean, inverse_deviation) = normalise(&as_channels, &gamma, &beta);
            let per_task = |values: Tensor| values.view([pass.tasks, -1]);
            let statistics = Statistics {
                mean: per_task(mean),
                variance: variance(&per_task(inverse_deviation)),
            };
            return (channels_to_tasks(&output, pass.tasks), statistics);
        }
        let (mut outputs, mut means, mut inverse_deviations) = (Vec::new(), Vec::new(), Vec::new());
        for values in activations.chunk(pass.tasks, 0) {
            let (output, mean, inverse_deviation) = normalise(&values, gamma, beta);
            outputs.push(output);
            means.push(mean);
            inverse_deviations.push(inverse_deviation);
        }
        let output = match outputs.len() {
            1 => outputs.swap_remove(0),
            _ => Tensor::cat(&outputs, 0),
        };
        (
            output,
            Statistics {
                mean: Tensor::stack(&means, 0),
                variance: variance(&Tensor::stack(&inverse_deviations, 0)),
            },
        )
    }
}

/// The variance from the inverse standard deviation that `native_batch_norm` returns, without gradient.
fn variance(inverse_deviation: &Tensor) -> Tensor {
    inverse_deviation.detach().square().reciprocal() - EPSILON
}
