//! How a block of the target CNN is computed: one after the other as its configuration says, or what gives the same
//! with fewer passes over memory.
use tch::{Kind, Tensor};

use crate::model::cnn::batch_norm::{Affine, shifted};
use crate::model::cnn::cnn::{Block, Cnn};
use crate::model::kernels::convolution::{convolve, of_pixels};
use crate::model::kernels::pooled_convolution;
use crate::model::pass::Pass;
use crate::model::statistics::{Source, Statistics};
use crate::model::weights::LayerWeights;
use crate::settings::cnn::{Activation, BlockOperation, Padding, Pooling};

impl Cnn {
    /// One block, and the statistics that it was normalised with.
    pub(crate) fn block(
        &self,
        pass: &Pass,
        layer: usize,
        weights: &LayerWeights,
        input: &Tensor,
        source: Source,
    ) -> (Tensor, Statistics) {
        let block = &self.blocks[layer];
        if block.before_norm.is_empty() && weights.bias.is_none() {
            return self.normalised_convolution(pass, block, weights, input, source);
        }
        let convolved = self.convolve(input, &weights.kernel, pass.tasks);
        let convolved = match &weights.bias {
            Some(bias) => shifted(
                &convolved,
                &bias.view([-1, bias.size()[bias.dim() - 1]]),
                pass.tasks,
            ),
            None => convolved,
        };
        let values = self.operations(&block.before_norm, convolved);
        let statistics = source.statistics(&values, pass.tasks);
        let affine = Affine::normalising(&weights.batch_norm, &statistics);
        let normalised = affine.apply(&values, pass.tasks);
        (self.operations(&block.after_norm, normalised), statistics)
    }

    /// Convolution and batch-norm next to each other, then activation and pooling in either order.
    ///
    /// Max-pooling commutes with maps that do not fall, so with the kernel's sign turned where γ < 0 pooling comes
    /// first and scale, shift and ReLU touch a quarter of the data. The scale of given statistics folds into the
    /// kernel.
    fn normalised_convolution(
        &self,
        pass: &Pass,
        block: &Block,
        weights: &LayerWeights,
        input: &Tensor,
        source: Source,
    ) -> (Tensor, Statistics) {
        if self.fuses(pass, block, weights, input) {
            return self.fused(pass, weights, input, source);
        }
        let pools = block.after_norm.first() == Some(&BlockOperation::Pool);
        let (pool, rest) = block.after_norm.split_at(usize::from(pools));
        // A kernel that tasks share stays shared.
        if let Source::Given(statistics) = source
            && (pass.tasks == 1 || weights.kernel.dim() == 5)
        {
            let affine = Affine::normalising(&weights.batch_norm, statistics);
            let folded = scaled(&weights.kernel, &affine.scale);
            let pooled = self.operations(pool, self.convolve(input, &folded, pass.tasks));
            let shifted = shifted(&pooled, &affine.shift, pass.tasks);
            return (self.operations(rest, shifted), statistics.shallow_clone());
        }
        let gamma = weights.batch_norm.0.detach();
        let sign = gamma.ge(0.0).to_kind(gamma.kind()) * 2.0 - 1.0;
        let output = self.convolve(input, &scaled(&weights.kernel, &sign), pass.tasks);
        let statistics = match source {
            Source::Given(statistics) => statistics.shallow_clone(),
            Source::Own(mask) => {
                let turned = Statistics::of(&output, pass.tasks, mask);
                Statistics {
                    mean: turned.mean * &sign,
                    variance: turned.variance,
                }
            }
        };
        let affine = Affine::normalising(&weights.batch_norm, &statistics);
        let turned = Affine {
            scale: affine.scale * sign,
            shift: affine.shift,
        };
        let pooled = self.operations(pool, output);
        let normalised = turned.apply(&pooled, pass.tasks);
        (self.operations(rest, normalised), statistics)
    }

    /// Whether a block of images can be computed in one pass.
    fn fuses(&self, pass: &Pass, block: &Block, weights: &LayerWeights, input: &Tensor) -> bool {
        use BlockOperation::{Activation as Activate, Pool};
        let options = &self.config.options;
        let usual = options.stride == 1
            && options.kernel_size == pooled_convolution::KERNEL_SIZE
            && options.pooling == Pooling::Max
            && options.activation == Activation::Relu
            && matches!(block.after_norm[..], [Pool, Activate] | [Activate, Pool]);
        let differentiable = pass.hooks.tape.is_some() || !weights.kernel.requires_grad();
        usual && differentiable && of_pixels(input) && input.kind() == Kind::Float
    }

    /// Statistics found without convolving, folded with γ and β into the kernel, then all else at once.
    fn fused(
        &self,
        pass: &Pass,
        weights: &LayerWeights,
        images: &Tensor,
        source: Source,
    ) -> (Tensor, Statistics) {
        let (kernel, padding, tasks) = (&weights.kernel, self.padding(), pass.tasks);
        let statistics = match source {
            Source::Given(statistics) => statistics.shallow_clone(),
            Source::Own(mask) => {
                Statistics::of_convolved_images(images, kernel, tasks, mask, padding)
            }
        };
        let affine = Affine::normalising(&weights.batch_norm, &statistics);
        let of_each_task = |values: &Tensor| {
            let mut shape = values.size();
            shape[0] = tasks;
            values.expand(&shape[..], false)
        };
        let kernel = of_each_task(&scaled(kernel, &affine.scale));
        let shift = of_each_task(&affine.shift);
        let (output, kept) = pooled_convolution::forward(images, &kernel, &shift, padding);
        let output = match pass.hooks.tape {
            Some(tape) => tape.record([kernel, shift], &output, move |gradient| {
                pooled_convolution::backward(&kept, gradient).into()
            }),
            None => output,
        };
        (output, statistics)
    }

    fn convolve(&self, input: &Tensor, kernel: &Tensor, tasks: i64) -> Tensor {
        let stride = self.config.options.stride as i64;
        convolve(input, kernel, tasks, stride, self.padding())
    }

    /// Rows of zeros around an image.
    fn padding(&self) -> i64 {
        match self.config.options.padding {
            Padding::Same => self.config.options.kernel_size as i64 / 2,
            Padding::Valid => 0,
        }
    }

    /// Operations without weights, in order.
    fn operations(&self, list: &[BlockOperation], values: Tensor) -> Tensor {
        let (size, none) = ([2, 2], [0, 0]);
        list.iter().fold(values, |values, operation| {
            match (
                operation,
                self.config.options.pooling,
                self.config.options.activation,
            ) {
                (BlockOperation::Pool, Pooling::Max, _) => {
                    values.max_pool2d(size, size, none, [1, 1], false)
                }
                (BlockOperation::Pool, Pooling::Average, _) => {
                    values.avg_pool2d(size, size, none, false, true, None)
                }
                (BlockOperation::Activation, _, Activation::Relu) => values.relu(),
                (BlockOperation::Activation, _, Activation::LeakyRelu) => leaky_relu(&values),
                (BlockOperation::Convolution | BlockOperation::BatchNorm, ..) => values,
            }
        })
    }
}

/// Slope of the leaky ReLU below 0.
pub(crate) const LEAK: f64 = 0.1;

/// x, or a tenth of it below 0.
pub(crate) fn leaky_relu(values: &Tensor) -> Tensor {
    values.maximum(&(values * LEAK))
}

/// A kernel, `[O, I, k, k]` or `[T, O, I, k, k]`, times factors of its output channels, `[O]` or `[1 or T, O]`.
fn scaled(kernel: &Tensor, factors: &Tensor) -> Tensor {
    let mut shape = factors.size();
    shape.extend([1, 1, 1]);
    kernel * factors.view(&shape[..])
}
