//! Support gradients: what weight tokens can hold after μ (`generator.support_gradient`).
//!
//! Not in the paper. A generator that reads averages of features hardly knows in which direction a kernel should change
//! for a task. The gradient of a loss on the support set tells it, at the cost of one more forward and backward pass of
//! the CNN over the support set.

use tch::{Kind, Tensor};

use crate::model::batch::EpisodeBatch;
use crate::model::cnn::cnn::Cnn;
use crate::model::generator::convolution::Convolution;
use crate::model::kernels::tape::Tape;
use crate::model::pass::{Hooks, Mode, Observed, Pass};
use crate::model::tensor_sizes::sizes;

/// Factor of squared distances in the logits. The larger it is, the less a sample counts that is closer to its own
/// class than to others.
const SHARPNESS: f64 = 4.0;

/// Logit of a class without labelled samples: finite, because it is multiplied by 0 for samples that do not count.
const ABSENT_CLASS_LOGIT: f64 = -1e9;

/// For each convolution whose generator reads it, the direction in which a gradient step on the support set would
/// change its slices: `[T, slices, slice length]`, with mean square 1 over the slices of a task, and constant (no
/// gradient flows through it).
///
/// The gradient is taken at generated weights of 0, which all must therefore be added to learned weights.
pub(crate) fn support_gradients(
    pass: &Pass,
    batch: &EpisodeBatch,
    cnn: &Cnn,
    convolutions: &[Convolution],
    way: usize,
) -> Vec<Option<Tensor>> {
    let slices_of = |convolution: &Convolution| {
        let generated = convolution.generated()?;
        let slices = generated.weights.slices;
        let reads = generated.generator.reads_support_gradient;
        reads.then_some((slices.count() as i64, slices.length() as i64))
    };
    let slices: Vec<Option<(i64, i64)>> = convolutions.iter().map(slices_of).collect();
    if slices.iter().all(Option::is_none) {
        return slices.iter().map(|_| None).collect();
    }
    let lengths: Vec<i64> = slices
        .iter()
        .map(|slices| slices.map_or(0, |(count, length)| count * length))
        .collect();
    // One leaf, of which the slices of each layer are a part.
    let by_layer = |flat: &Tensor| -> Vec<Option<Tensor>> {
        let parts = flat.split_with_sizes(&lengths[..], 1);
        let shaped = parts.into_iter().zip(&slices).map(|(part, slices)| {
            let (count, length) = (*slices)?;
            Some(part.view([pass.tasks, count, length]))
        });
        shaped.collect()
    };
    let gradient = tch::with_grad(|| {
        let options = (batch.support.kind(), batch.support.device());
        let changes = Tensor::zeros([pass.tasks, lengths.iter().sum()], options);
        let changes = changes.set_requires_grad(true);
        let tape = Tape::default();
        let hooks = Hooks {
            tape: Some(&tape),
            ..Hooks::default()
        };
        let pass = Pass { hooks, ..*pass };
        let loss = support_loss(&pass, batch, cnn, convolutions, &by_layer(&changes), way);
        tape.gradient(&loss, &changes)
    });
    let gradients = by_layer(&gradient).into_iter();
    let direction = |gradient: Tensor| with_mean_square_1(&-gradient);
    gradients.map(|gradient| gradient.map(direction)).collect()
}

/// [`leave_one_out_loss`] of the support set with the learned weights plus these slices.
fn support_loss(
    pass: &Pass,
    batch: &EpisodeBatch,
    cnn: &Cnn,
    convolutions: &[Convolution],
    slices: &[Option<Tensor>],
    way: usize,
) -> Tensor {
    let mut values = batch.support.flatten(0, 1);
    for (layer, (convolution, slices)) in convolutions.iter().zip(slices).enumerate() {
        let weights = match (convolution, slices) {
            (Convolution::Learned(learned), _) => learned.weights(pass.parameters),
            (Convolution::Generated(generated), Some(slices)) => {
                generated.weights.weights(pass.parameters, slices)
            }
            (Convolution::Generated(generated), None) => {
                let layout = generated.weights.slices;
                let shape = [1, layout.count() as i64, layout.length() as i64];
                let zeros = Tensor::zeros(shape, (values.kind(), values.device()));
                generated.weights.weights(pass.parameters, &zeros)
            }
        };
        let unused = &mut Observed::new(Mode::Infer);
        values = cnn.support(pass, layer, &weights, &values, unused).0;
    }
    let features = cnn.features(&values);
    let labels = &batch.support_labels;
    leave_one_out_loss(&features, labels, pass.support_mask, way as i64)
}

/// Scales the slices of each task, `[T, count, length]`, to mean square 1; zeros stay zeros. Gradients can be so small
/// (where classes are far apart) that their squares are 0 in single precision, so they are divided by the largest
/// element first.
fn with_mean_square_1(slices: &Tensor) -> Tensor {
    let axes = &[1i64, 2][..];
    let slices = slices / slices.abs().amax(axes, true).clamp_min(1e-30);
    let square = slices.square().mean_dim(axes, true, None);
    &slices / square.sqrt().clamp_min(1e-15)
}

/// Cross-entropy of classification by distances to class means, averaged over the labelled samples of each task and
/// summed over tasks. Logits are −[`SHARPNESS`] times mean squared distances. The mean of a sample's own class leaves
/// the sample out, unless it is the only one.
///
/// `features`: `[T·N, length]`; `labels`: `[T, N]`, `way` for unlabelled samples; `mask`: `[T, N]`, 0 for hidden
/// samples.
fn leave_one_out_loss(
    features: &Tensor,
    labels: &Tensor,
    mask: Option<&Tensor>,
    way: i64,
) -> Tensor {
    let [tasks, samples] = sizes(labels, "support labels");
    let (kind, device) = (features.kind(), features.device());
    let features = features.view([tasks, samples, -1]);
    let classes = Tensor::arange(way, (Kind::Int64, device));
    let mut members = labels.unsqueeze(2).eq_tensor(&classes).to_kind(kind);
    if let Some(mask) = mask {
        members *= mask.unsqueeze(2);
    }
    // [T, 1, n]
    let counts = members.sum_dim_intlist(&[1i64][..], true, kind);
    let sums = members.transpose(1, 2).matmul(&features);
    let means = sums / counts.transpose(1, 2).clamp_min(1.0);
    let squares = |values: &Tensor| values.square().sum_dim_intlist(&[2i64][..], true, kind);
    let products = features.matmul(&means.transpose(1, 2));
    let distances = squares(&features) + squares(&means).transpose(1, 2) - products * 2.0;
    // x − mean of the others = c / (c − 1) · (x − mean of all c).
    let without_itself = (&counts / (&counts - 1.0).clamp_min(1.0)).square();
    let distances = distances * (&members * (without_itself - 1.0) + 1.0);
    let logits = distances * (-SHARPNESS / features.size()[2] as f64);
    let logits = logits.masked_fill(&counts.eq(0.0), ABSENT_CLASS_LOGIT);
    let own = (logits.log_softmax(2, kind) * &members).sum_dim_intlist(&[1i64, 2][..], false, kind);
    let counted = counts.sum_dim_intlist(&[1i64, 2][..], false, kind);
    -(own / counted.clamp_min(1.0)).sum(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directions_have_mean_square_1_and_zeros_stay_zeros() {
        for size in [1.0f32, 1e-25, 1e-36] {
            let slices =
                Tensor::from_slice(&[3.0f32, -1.0, 0.0, 2.0]).view([1, 2, 2]) * f64::from(size);
            let square = with_mean_square_1(&slices).square().mean(Kind::Float);
            assert!((square.double_value(&[]) - 1.0).abs() < 1e-4, "{size}");
        }
        let zeros = Tensor::zeros([1, 2, 2], (Kind::Float, tch::Device::Cpu));
        assert_eq!(with_mean_square_1(&zeros), zeros);
    }

    /// Two samples of class 0, one of class 1, one unlabelled, and one of class 2 that is hidden, so that class 2 has
    /// none.
    #[test]
    fn the_loss_counts_labelled_samples_that_are_not_hidden() {
        let features = Tensor::from_slice(&[0.0, 0.2, 0.5, 0.9, 0.7]).view([5, 1]);
        let labels = Tensor::from_slice(&[0i64, 0, 1, 3, 2]).view([1, 5]);
        let mask = Tensor::from_slice(&[1.0, 1.0, 1.0, 1.0, 0.0]).view([1, 5]);
        let found = leave_one_out_loss(&features, &labels, Some(&mask), 3).double_value(&[]);
        // Squared distances to the own class without the sample (unless it is the only one) and to the other class.
        let pairs = [(0.04, 0.25), (0.04, 0.09), (0.0, 0.16)];
        let each = pairs.map(|(own, other): (f64, f64)| (SHARPNESS * (own - other)).exp().ln_1p());
        assert!((found - each.iter().sum::<f64>() / 3.0).abs() < 1e-12);
    }
}
