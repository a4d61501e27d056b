//! What weight tokens can hold after μ: the direction in which a loss on the support set would move their slices.
//!
//! Not in the paper. A generator that sees averages of features has little to tell which way a kernel should move for
//! this task; the gradient says it, at the price of one more way through the CNN and back, over the support set alone.
use tch::{Kind, Tensor};

use crate::model::batch::EpisodeBatch;
use crate::model::generator::slices::ConvolutionSlices;
use crate::model::hypertransformer::HyperTransformer;
use crate::model::kernels::tape::Tape;
use crate::model::pass::{Hooks, Observed, Pass};

/// What distances are multiplied by: the larger, the less a sample counts that is nearer to its own class than to others.
const SHARPNESS: f64 = 4.0;

/// Logit of a class that no labelled sample speaks for; finite, for it is multiplied by 0 where a sample does not count.
const NOBODY: f64 = -1e9;

impl HyperTransformer {
    /// Of each convolution whose weight tokens hold it: the direction in which the support set would have its slices
    /// move, `[T, slices, slice length]`, with mean square 1 over a task's slices. A constant: no gradient leads through.
    ///
    /// It is taken where all generated changes are 0, so there must be learned weights beneath.
    pub(crate) fn support_gradients(
        &self,
        pass: &Pass,
        batch: &EpisodeBatch,
    ) -> Vec<Option<Tensor>> {
        let asked: Vec<Option<&ConvolutionSlices>> = self
            .convolutions
            .iter()
            .map(|layer| {
                let (generator, slices) = layer.as_ref()?;
                generator.begins_with_gradient.then_some(slices)
            })
            .collect();
        if asked.iter().all(Option::is_none) {
            return asked.iter().map(|_| None).collect();
        }
        let length = |slices: &ConvolutionSlices| (slices.count() * slices.length()) as i64;
        let lengths: Vec<i64> = asked
            .iter()
            .map(|slices| slices.map_or(0, length))
            .collect();
        // One leaf, whose parts are the changes of each layer.
        let of_layers = |flat: &Tensor| -> Vec<Option<Tensor>> {
            let parts = flat.split_with_sizes(&lengths[..], 1);
            let shaped = parts.into_iter().zip(&asked).map(|(part, slices)| {
                let shape = [pass.tasks, slices.as_ref()?.count() as i64, -1];
                Some(part.view(shape))
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
            let loss = self.support_loss(&Pass { hooks, ..*pass }, batch, &of_layers(&changes));
            tape.gradient(&loss, &changes)
        });
        let gradients = of_layers(&gradient).into_iter();
        let direction = |gradient: Tensor| of_mean_square_1(&-gradient);
        gradients.map(|gradient| gradient.map(direction)).collect()
    }

    /// [`leave_one_out_loss`] of the support set by the learned weights and these changes of them.
    fn support_loss(
        &self,
        pass: &Pass,
        batch: &EpisodeBatch,
        changes: &[Option<Tensor>],
    ) -> Tensor {
        let mut values = batch.support.flatten(0, 1);
        for (layer, change) in changes.iter().enumerate() {
            let generated = self.convolutions[layer].as_ref().zip(change.as_ref());
            let generated = generated.map(|((_, slices), change)| slices.weights(change));
            let weights = self.cnn.weights(pass.parameters, layer, generated);
            let unused = &mut Observed::default();
            values = self.cnn.support(pass, layer, &weights, &values, unused).0;
        }
        let features = self.cnn.features(&values);
        let way = self.logits.tokens.slices as i64;
        leave_one_out_loss(&features, &batch.support_labels, pass.support_mask, way)
    }
}

/// Slices, `[T, count, length]`, scaled for each task; zeros stay zeros. Where classes lie far apart the gradient is so
/// small that its square is 0 in single precision, hence the largest element first.
fn of_mean_square_1(slices: &Tensor) -> Tensor {
    let axes = &[1i64, 2][..];
    let slices = slices / slices.abs().amax(axes, true).clamp_min(1e-30);
    let square = slices.square().mean_dim(axes, true, None);
    &slices / square.sqrt().clamp_min(1e-15)
}

/// Σ over tasks of the mean over labelled samples of the cross-entropy of mean squared distances, times −[`SHARPNESS`], to
/// the class means, to that of a sample's own class without itself, where it has others.
///
/// `features`: `[T·N, length]`; `labels`: `[T, N]`, `way` for an unlabelled sample; `mask`: `[T, N]`, 0 for a hidden one.
fn leave_one_out_loss(
    features: &Tensor,
    labels: &Tensor,
    mask: Option<&Tensor>,
    way: i64,
) -> Tensor {
    let (tasks, samples) = labels.size2().unwrap_or_default();
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
    let logits = logits.masked_fill(&counts.eq(0.0), NOBODY);
    let own = (logits.log_softmax(2, kind) * &members).sum_dim_intlist(&[1i64, 2][..], false, kind);
    let counted = counts.sum_dim_intlist(&[1i64, 2][..], false, kind);
    -(own / counted.clamp_min(1.0)).sum(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direction_has_mean_square_1_however_small_and_nothing_has_none() {
        for size in [1.0f32, 1e-25, 1e-36] {
            let slices =
                Tensor::from_slice(&[3.0f32, -1.0, 0.0, 2.0]).view([1, 2, 2]) * f64::from(size);
            let square = of_mean_square_1(&slices).square().mean(Kind::Float);
            assert!((square.double_value(&[]) - 1.0).abs() < 1e-4, "{size}");
        }
        let nothing = Tensor::zeros([1, 2, 2], (Kind::Float, tch::Device::Cpu));
        assert_eq!(of_mean_square_1(&nothing), nothing);
    }

    /// Two samples of class 0, one of class 1, one unlabelled, one of class 2 that is hidden: nobody speaks for class 2.
    #[test]
    fn the_loss_is_that_by_hand_and_counts_only_what_is_seen_and_labelled() {
        let features = Tensor::from_slice(&[0.0, 0.2, 0.5, 0.9, 0.7]).view([5, 1]);
        let labels = Tensor::from_slice(&[0i64, 0, 1, 3, 2]).view([1, 5]);
        let mask = Tensor::from_slice(&[1.0, 1.0, 1.0, 1.0, 0.0]).view([1, 5]);
        let found = leave_one_out_loss(&features, &labels, Some(&mask), 3).double_value(&[]);
        // Squared distances to the own class without the sample, but for a single one, and to the other class.
        let pairs = [(0.04, 0.25), (0.04, 0.09), (0.0, 0.16)];
        let each = pairs.map(|(own, other): (f64, f64)| (SHARPNESS * (own - other)).exp().ln_1p());
        assert!((found - each.iter().sum::<f64>() / 3.0).abs() < 1e-12);
    }
}
