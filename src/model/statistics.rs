//! Means and variances that batch normalisation goes by.
use tch::Tensor;

use crate::model::kernels::convolution::patches;

/// Means and (biased) variances of each task's channels, both `[T, C]`; `[1, C]` where all tasks share them.
#[derive(Debug)]
pub struct Statistics {
    /// Channel means.
    pub mean: Tensor,
    /// Channel variances.
    pub variance: Tensor,
}

impl Statistics {
    /// Statistics of `activations`, `[T·N, C, H, W]`, over the images and places of each task; images whose `mask`,
    /// `[T, N]`, is 0 do not count.
    pub fn of(activations: &Tensor, tasks: i64, mask: Option<&Tensor>) -> Statistics {
        let size = activations.size();
        let grouped = activations.view([tasks, size[0] / tasks, size[1], size[2], size[3]]);
        // `var_mean` is several times slower on a CPU, forward and backward; the gradient of `mean_dim` divides the
        // whole batch, that of a sum divided afterwards does not.
        let places = (size[2] * size[3]) as f64;
        let mean = |values: &Tensor| {
            let axes = &[1i64, 3, 4][..];
            match mask {
                None => {
                    let share = 1.0 / ((size[0] / tasks) as f64 * places);
                    values.sum_dim_intlist(axes, false, None) * share
                }
                Some(mask) => {
                    let counted = values * mask.view([tasks, -1, 1, 1, 1]);
                    let count = mask.sum_dim_intlist(&[1i64][..], true, None) * places;
                    counted.sum_dim_intlist(axes, false, None) / count
                }
            }
        };
        // Half the square's gradient flows through a product with a constant: doubled, and the value brought back,
        // it is the whole one for a third of the passes that `square` takes.
        let half = mean(&(&grouped * grouped.detach()));
        let squares = &half * 2.0 - half.detach();
        let mean = mean(&grouped);
        let variance = (squares - mean.square()).clamp_min(0.0);
        Statistics { mean, variance }
    }

    /// Statistics of `images`, `[T·N, I, H, W]`, convolved with a kernel, `[O, I, k, k]` or `[T, O, I, k, k]`; images
    /// whose `mask`, `[T, N]`, is 0 do not count.
    ///
    /// A convolution is linear: with m the mean patch and M the mean of p pᵀ over patches p, a channel with kernel w has
    /// the mean w m and the mean square wᵀ M w. Nothing is convolved, and the gradient passes a few numbers.
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
        let places = patches.size()[2] as f64;
        let squares = patches.bmm(&patches.transpose(1, 2)) / places;
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

    /// Other handles of the same tensors.
    pub fn shallow_clone(&self) -> Statistics {
        Statistics {
            mean: self.mean.shallow_clone(),
            variance: self.variance.shallow_clone(),
        }
    }
}

/// Where the statistics of one image set come from.
#[derive(Clone, Copy, Debug)]
pub enum Source<'a> {
    /// The images themselves, those that a mask `[T, N]` leaves.
    Own(Option<&'a Tensor>),
    /// Statistics found before.
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

    /// Shared kernels and one for each task, with and without images that do not count.
    #[test]
    fn those_of_a_convolution_need_no_convolution() {
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
