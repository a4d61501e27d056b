//! Batch normalisation with the statistics of the query set, the support set, or moving averages.
//!
//! Which statistics a query is normalised with decides whether an accuracy is inductive: with `query` the other
//! queries of an episode influence the answer (what the authors' program does), with `support` and `running` not.
use tch::Tensor;

use crate::model::kernels::tasks_as_channels::{faster_together, one_after_another, side_by_side};
use crate::model::parameters::{Initial, ParameterId, ParameterKind, ParameterLayout, Parameters};
use crate::model::pass::Pass;
use crate::model::statistics::Statistics;

/// Added to variances, as in the authors' program.
const EPSILON: f64 = 1e-3;

/// The elementwise map x ↦ scale · x + shift that normalisation amounts to, both `[T or 1, C]`.
#[derive(Debug)]
pub struct Affine {
    /// γ / √(variance + ε)
    pub scale: Tensor,
    /// β − mean · scale
    pub shift: Tensor,
}

impl Affine {
    /// Normalisation with these statistics, γ and β (`[C]` or `[T, C]`).
    pub fn normalising((gamma, beta): &(Tensor, Tensor), statistics: &Statistics) -> Affine {
        let scale = gamma / (&statistics.variance + EPSILON).sqrt();
        let shift = beta - &statistics.mean * &scale;
        Affine { scale, shift }
    }

    /// Applied to `activations`, `[T·N, C, H, W]`.
    pub fn apply(&self, activations: &Tensor, tasks: i64) -> Tensor {
        by_task(
            activations,
            tasks,
            [&self.shift, &self.scale],
            |values, [shift, scale]| shift.addcmul(values, scale),
        )
    }
}

/// `activations`, `[T·N, C, H, W]`, each channel with a number of its own added, `[1 or T, C]`.
pub(crate) fn shifted(activations: &Tensor, shift: &Tensor, tasks: i64) -> Tensor {
    by_task(activations, tasks, [shift], |values, [shift]| {
        values + shift
    })
}

/// An elementwise map of `activations`, `[T·N, C, H, W]`, and numbers of each task's channels, `[1 or T, C]`.
fn by_task<const COUNT: usize>(
    activations: &Tensor,
    tasks: i64,
    numbers: [&Tensor; COUNT],
    map: impl Fn(&Tensor, [&Tensor; COUNT]) -> Tensor,
) -> Tensor {
    let size = activations.size();
    let views = numbers.map(|numbers| match numbers.size()[0] {
        1 => numbers.view([1, -1, 1, 1]),
        tasks => numbers.view([tasks, 1, -1, 1, 1]),
    });
    let views = views.each_ref();
    if views.iter().all(|view| view.dim() == 4) {
        return map(activations, views);
    }
    let grouped = activations.view([tasks, size[0] / tasks, size[1], size[2], size[3]]);
    map(&grouped, views).view(&size[..])
}

/// One normalisation: γ and β, where they are learned, and the moving averages.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm {
    learned: Option<(ParameterId, ParameterId)>,
    running_mean: ParameterId,
    running_variance: ParameterId,
}

impl BatchNorm {
    /// γ = 1, β = 0 in `layout`, if there is one; moving averages 0 and 1 in `buffers`.
    pub fn new(
        layout: Option<&mut ParameterLayout>,
        buffers: &mut ParameterLayout,
        name: &str,
        channels: usize,
    ) -> BatchNorm {
        let shape = [channels as i64];
        let add = |layout: &mut ParameterLayout, part: &str, kind, start| {
            let name = format!("{name}.{part}");
            layout.add(name, &shape, kind, Initial::Constant(start))
        };
        BatchNorm {
            learned: layout.map(|layout| {
                (
                    add(layout, "weight", ParameterKind::Gain, 1.0),
                    add(layout, "bias", ParameterKind::Bias, 0.0),
                )
            }),
            running_mean: add(buffers, "running_mean", ParameterKind::Statistic, 0.0),
            running_variance: add(buffers, "running_variance", ParameterKind::Statistic, 1.0),
        }
    }

    /// γ and β, `[C]`, where they are learned.
    pub fn learned(&self, parameters: &Parameters) -> Option<(Tensor, Tensor)> {
        let (gamma, beta) = self.learned?;
        let view = |id| parameters.get(id).shallow_clone();
        Some((view(gamma), view(beta)))
    }

    /// Support activations, `[T·N, C, H, W]`, by learned γ and β and by their own statistics or, where those are in
    /// use, the moving averages; with the statistics, without gradient. For who normalises nothing else by them.
    pub fn by_own_batch(&self, pass: &Pass, activations: &Tensor) -> (Tensor, Statistics) {
        let learned = self
            .learned(pass.parameters)
            .expect("an embedding's normalisation is learned");
        if pass.uses_running() || pass.support_mask.is_some() {
            let statistics = match pass.uses_running() {
                true => self.running(pass.buffers),
                false => Statistics::of(activations, pass.tasks, pass.support_mask),
            };
            let affine = Affine::normalising(&learned, &statistics);
            return (affine.apply(activations, pass.tasks), statistics);
        }
        // One kernel forward and one backward a task instead of some twenty.
        let none = None::<&Tensor>;
        let normalise = |values: &Tensor, gamma: &Tensor, beta: &Tensor| {
            values.native_batch_norm(Some(gamma), Some(beta), none, none, true, 0.0, EPSILON)
        };
        let (gamma, beta) = &learned;
        if faster_together(activations, pass.tasks) {
            let beside = side_by_side(activations, pass.tasks);
            let [gamma, beta] = [gamma, beta].map(|values| values.repeat(pass.tasks));
            let (output, mean, inverse_deviation) = normalise(&beside, &gamma, &beta);
            let of_tasks = |values: Tensor| values.view([pass.tasks, -1]);
            let statistics = Statistics {
                mean: of_tasks(mean),
                variance: variance(&of_tasks(inverse_deviation)),
            };
            return (one_after_another(&output, pass.tasks), statistics);
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

    /// The moving averages, `[1, C]`.
    pub fn running(&self, buffers: &Parameters) -> Statistics {
        Statistics {
            mean: buffers.get(self.running_mean).unsqueeze(0),
            variance: buffers.get(self.running_variance).unsqueeze(0),
        }
    }
}

/// From what `native_batch_norm` tells, without gradient.
fn variance(inverse_deviation: &Tensor) -> Tensor {
    inverse_deviation.detach().square().reciprocal() - EPSILON
}
