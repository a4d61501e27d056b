//! Means and variances that batch normalisation uses.

use tch::Tensor;

use crate::model::kernels::convolution::patches;

/// Means and biased variances of channels, both `[T, C]`, or `[1, C]` if all tasks share them.
#[derive(Debug)]
pub struct Statistics {
    /// Channel means.
    pub mean: Tensor,
    /// Channel variances.
    pub variance: Tensor,
}

impl Statistics {
    /// Statistics of `activations`, `[T·N, C, H, W]`, over the images and positions of each task. Images whose `mask`,
    /// `[T, N]`, is 0 are left out.
    pub fn of(activations: &Tensor, tasks: i64, mask: Option<&Tensor>) -> Statistics {
        let size = activations.size();
        let grouped = activations.view([tasks, size[0] / tasks, size[1], size[2], size[3]]);
        // `var_mean` is several times slower on a CPU, forward and backward. The gradient of `mean_dim` divides the
        // whole batch; the gradient of a sum that is divided afterwards does not.
        let positions = (size[2] * size[3]) as f64;
        let mean = |values: &Tensor| {
            let axes = &[1i64, 3, 4][..];
            match mask {
                None => {
                    let share = 1.0 / ((size[0] / tasks) as f64 * positions);
                    values.sum_dim_intlist(axes, false, None) * share
                }
                Some(mask) => {
                    let counted = values * mask.view([tasks, -1, 1, 1, 1]);
                    let count = mask.sum_dim_intlist(&[1i64][..], true, None) * positions;
                    counted.sum_dim_intlist(axes, false, None) / count
                }
            }
        };
        // x times its detached value has half the gradient of x². Doubled, with the value corrected, it replaces
        // `square` at a third of the passes over memory.
        let half = mean(&(&grouped * grouped.detach()));
        let squares = &half * 2.0 - half.detach();
        let mean = mean(&grouped);
        let variance = (squares - mean.square()).clamp_min(0.0);
        Statistics { mean, variance }
    }

    /// Statistics of `images`, `[T·N, I, H, W]`, convolved with a kernel, `[O, I, k, k]` or `[T, O, I, k, k]`. Images
    /// whose `mask`, `[T, N]`, is 0 are left out.
    ///
    /// A convolution is linear: with m the mean patch and M the mean of p pᵀ over patches p, a channel with kernel w
    /// has mean w m and mean square wᵀ M w. Nothing is convolved, and the backward pass goes through small matrices
    /// only.
    pub fn of_convolved_images(
        images: &Tensor,
        kernel: &Tensor,
        tasks: i64,
        mask: Option<&Tensor>,
        padding: i64,
    ) -> Statistics {
        let kernel_size = kernel.size()[kernel.dim() - 1];
        let (patches, _) = patches(images, (kernel_size, kernel_size), 1, padding);
        let taps = patches.size()[1];
        let positions = patches.size()[2] as f64;
        let squares = patches.bmm(&patches.transpose(1, 2)) / positions;
        let means = patches.mean_dim(&[2i64][..], false, None);
        // [T, taps, 1 or taps]
        let over_images = |values: Tensor, columns: i64| {
            let values = values.view([tasks, -1, taps, columns]);
            match mask {
                None => values.mean_dim(&[1i64][..], false, None),
                Some(mask) => {
                    let share = mask / mask.sum_dim_intlist(&[1i64][..], true, None);
                    let weighted = values * share.view([tasks, -1, 1, 1]);
                    weighted.sum_dim_intlist(&[1i64][..], false, None)
                }
            }
        };
        let outputs = kernel.size()[kernel.dim() - 4];
        // [1 or T, O, taps]
        let kernel = kernel.flatten(-3, -1).view([-1, outputs, taps]);
        let mean = kernel.matmul(&over_images(means, 1)).squeeze_dim(2);
        let squares = kernel.matmul(&over_images(squares, taps)) * &kernel;
        let squares = squares.sum_dim_intlist(&[2i64][..], false, None);
        let variance = (squares - mean.square()).clamp_min(0.0);
        Statistics { mean, variance }
    }

    /// Handles of the same tensors.
    pub fn shallow_clone(&self) -> Statistics {
        Statistics {
            mean: self.mean.shallow_clone(),
            variance: self.variance.shallow_clone(),
        }
    }
}

/// The origin of the statistics that a batch is normalised with.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// The batch itself, without images whose mask, `[T, N]`, is 0.
    Own(Option<&'a Tensor>),
    /// Statistics computed before.
    Given(&'a Statistics),
}

impl Source<'_> {
    /// The statistics to normalise `activations`, `[T·N, C, H, W]`, with.
    pub fn statistics(&self, activations: &Tensor, tasks: i64) -> Statistics {
        match self {
            Source::Own(mask) => Statistics::of(activations, tasks, *mask),
            Source::Given(statistics) => statistics.shallow_clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;
    use crate::model::kernels::convolution::convolve;

    /// Shared kernels and one kernel per task, with and without masked images.
    #[test]
    fn statistics_of_convolved_images_equal_those_of_the_convolution() {
        let (tasks, images) = (2, 3);
        let random = |shape: &[i64]| Tensor::rand(shape, (Kind::Float, Device::Cpu));
        let pixels = random(&[tasks * images, 3, 9, 8]);
        let mask = Tensor::from_slice(&[1.0f32, 0.0, 1.0, 1.0, 1.0, 0.0]).view([tasks, images]);
        for kernel in [random(&[5, 3, 3, 3]), random(&[tasks, 5, 3, 3, 3])] {
            for mask in [None, Some(&mask)] {
                let kernel = &kernel - 0.5;
                let convolved = convolve(&pixels, &kernel, tasks, 1, 1);
                let expected = Statistics::of(&convolved, tasks, mask);
                let found = Statistics::of_convolved_images(&pixels, &kernel, tasks, mask, 1);
                for (found, expected) in [
                    (found.mean, expected.mean),
                    (found.variance, expected.variance),
                ] {
                    assert_eq!(found.size(), [tasks, 5]);
                    assert!((found - expected).abs().max().double_value(&[]) < 1e-5);
                }
            }
        }
    }
}
