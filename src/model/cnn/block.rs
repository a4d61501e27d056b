//! One convolution block of the target CNN: operation by operation, or equivalent computations with fewer passes over
//! memory.

use tch::{Kind, Tensor};

use crate::model::cnn::batch_norm::{Affine, MovingAverages, shifted};
use crate::model::cnn::learned::batch_norm_name;
use crate::model::cnn::shapes::CnnConfig;
use crate::model::kernels::convolution::{convolve, is_image_on_cpu};
use crate::model::kernels::lanes::KERNEL_SIZE;
use crate::model::kernels::pooled_convolution;
use crate::model::parameters::ParameterLayout;
use crate::model::pass::Pass;
use crate::model::statistics::{Source, Statistics};
use crate::model::weights::LayerWeights;
use crate::settings::cnn::{Activation, BlockOperation, CnnOptions, Padding, Pooling};

/// A convolution, batch normalisation, activation and pooling in the configured order. The weights are arguments.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) averages: MovingAverages,
    stride: i64,
    /// Rows and columns of zeros around the input.
    padding: i64,
    pooling: Pooling,
    activation: Activation,
    before_norm: Vec<BlockOperation>,
    after_norm: Vec<BlockOperation>,
    /// Whether [`pooled_convolution`] computes these operations.
    fusable: bool,
}

impl Block {
    /// Registers the moving averages of block `layer`.
    pub(crate) fn new(buffers: &mut ParameterLayout, config: &CnnConfig, layer: usize) -> Block {
        let options = &config.options;
        let (before_norm, after_norm) = config.sides(layer);
        Block {
            averages: MovingAverages::new(buffers, &batch_norm_name(layer), options.channels),
            stride: options.stride as i64,
            padding: match options.padding {
                Padding::Same => options.kernel_size as i64 / 2,
                Padding::Valid => 0,
            },
            pooling: options.pooling,
            activation: options.activation,
            fusable: is_fusable(options, &before_norm, &after_norm),
            before_norm,
            after_norm,
        }
    }

    /// The output of the block and the statistics that it was normalised with. `input`: `[T·N, C, H, W]`.
    pub(crate) fn forward(
        &self,
        pass: &Pass,
        weights: &LayerWeights,
        input: &Tensor,
        source: Source,
    ) -> (Tensor, Statistics) {
        if self.before_norm.is_empty() && weights.bias.is_none() {
            return self.normalised_convolution(pass, weights, input, source);
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
        let values = self.operations(&self.before_norm, convolved);
        let statistics = source.statistics(&values, pass.tasks);
        let affine = Affine::normalising(&weights.batch_norm, &statistics);
        let normalised = affine.apply(&values, pass.tasks);
        (self.operations(&self.after_norm, normalised), statistics)
    }

    /// Computes a block in which batch normalisation follows the convolution directly.
    ///
    /// Max-pooling commutes with non-decreasing maps. With the sign of the kernel flipped where γ < 0, pooling can come
    /// first, and scale, shift and ReLU are applied to a quarter of the data. If the statistics are known beforehand,
    /// the scale is multiplied into the kernel.
    fn normalised_convolution(
        &self,
        pass: &Pass,
        weights: &LayerWeights,
        input: &Tensor,
        source: Source,
    ) -> (Tensor, Statistics) {
        if self.fusable && can_fuse(pass, weights, input) {
            return self.fused(pass, weights, input, source);
        }
        let pools = self.after_norm.first() == Some(&BlockOperation::Pool);
        let (pool, rest) = self.after_norm.split_at(usize::from(pools));
        // A kernel that several tasks share is not scaled, because it would no longer be shared.
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
                let flipped = Statistics::of(&output, pass.tasks, mask);
                Statistics {
                    mean: flipped.mean * &sign,
                    variance: flipped.variance,
                }
            }
        };
        let affine = Affine::normalising(&weights.batch_norm, &statistics);
        let flipped = Affine {
            scale: affine.scale * sign,
            shift: affine.shift,
        };
        let pooled = self.operations(pool, output);
        let normalised = flipped.apply(&pooled, pass.tasks);
        (self.operations(rest, normalised), statistics)
    }

    /// Computes the statistics without convolving, multiplies γ and the statistics into the kernel, and computes
    /// everything else in one pass over the images.
    fn fused(
        &self,
        pass: &Pass,
        weights: &LayerWeights,
        images: &Tensor,
        source: Source,
    ) -> (Tensor, Statistics) {
        let (kernel, tasks) = (&weights.kernel, pass.tasks);
        let statistics = match source {
            Source::Given(statistics) => statistics.shallow_clone(),
            Source::Own(mask) => {
                Statistics::of_convolved_images(images, kernel, tasks, mask, self.padding)
            }
        };
        let affine = Affine::normalising(&weights.batch_norm, &statistics);
        let per_task = |values: &Tensor| {
            let mut shape = values.size();
            shape[0] = tasks;
            values.expand(&shape[..], false)
        };
        let kernel = per_task(&scaled(kernel, &affine.scale));
        let shift = per_task(&affine.shift);
        let (output, saved) = pooled_convolution::forward(images, &kernel, &shift, self.padding);
        let output = match pass.hooks.tape {
            Some(tape) => tape.record([kernel, shift], &output, move |gradient| {
                pooled_convolution::backward(&saved, gradient).into()
            }),
            None => output,
        };
        (output, statistics)
    }

    fn convolve(&self, input: &Tensor, kernel: &Tensor, tasks: i64) -> Tensor {
        convolve(input, kernel, tasks, self.stride, self.padding)
    }

    /// Applies operations without weights, in order.
    fn operations(&self, list: &[BlockOperation], values: Tensor) -> Tensor {
        let (size, none) = ([2, 2], [0, 0]);
        list.iter().fold(values, |values, operation| {
            match (operation, self.pooling, self.activation) {
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

/// Whether [`pooled_convolution`] computes these operations.
fn is_fusable(
    options: &CnnOptions,
    before_norm: &[BlockOperation],
    after_norm: &[BlockOperation],
) -> bool {
    use BlockOperation::{Activation as Activate, Pool};
    options.stride == 1
        && options.kernel_size == KERNEL_SIZE
        && options.pooling == Pooling::Max
        && options.activation == Activation::Relu
        && before_norm.is_empty()
        && matches!(after_norm, [Pool, Activate] | [Activate, Pool])
}

/// Whether [`pooled_convolution`] can compute this input, with gradients if they are needed.
fn can_fuse(pass: &Pass, weights: &LayerWeights, input: &Tensor) -> bool {
    let differentiable = pass.hooks.tape.is_some() || !weights.kernel.requires_grad();
    differentiable && is_image_on_cpu(input) && input.kind() == Kind::Float
}

/// Slope of the leaky ReLU below 0.
pub(crate) const LEAK: f64 = 0.1;

/// max(x, 0.1 x).
pub(crate) fn leaky_relu(values: &Tensor) -> Tensor {
    values.maximum(&(values * LEAK))
}

/// Multiplies a kernel, `[O, I, k, k]` or `[T, O, I, k, k]`, by factors of its output channels, `[O]` or `[1 or T, O]`.
fn scaled(kernel: &Tensor, factors: &Tensor) -> Tensor {
    let mut shape = factors.size();
    shape.extend([1, 1, 1]);
    kernel * factors.view(&shape[..])
}
