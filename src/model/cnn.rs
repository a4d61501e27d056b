//! The target CNN f(x; θ): purely functional, its weights come in as arguments.

use tch::{Kind, Tensor};

use super::allocation::ConvolutionWeights;
use super::architecture::{
    Activation, BlockOperation, CnnConfig, Head, LayerShape, Padding, Pooling,
};
use super::batch_norm::{
    Affine, BatchNorm, BatchNormMode, Observed, Pass, Source, Statistics, shifted,
};
use super::convolution::{convolve, of_pixels};
use super::parameters::{Initial, ParameterId, ParameterLayout, Parameters};
use super::pooled_convolution;

/// Which of a block's weights are learned.
#[derive(Clone, Copy, Debug)]
pub struct LearnedParts {
    /// The kernel.
    pub kernel: bool,
    /// A bias.
    pub bias: bool,
    /// γ and β.
    pub batch_norm: bool,
}

/// One block: its operations and what is learned of its weights.
#[derive(Clone, Debug)]
struct Block {
    kernel: Option<ParameterId>,
    bias: Option<ParameterId>,
    batch_norm: BatchNorm,
    before_norm: Vec<BlockOperation>,
    after_norm: Vec<BlockOperation>,
}

/// The weights θ_l of one block.
#[derive(Debug)]
pub struct LayerWeights {
    /// `[O, I, k, k]` where all tasks share it, else `[T, O, I, k, k]`
    pub kernel: Tensor,
    /// `[O]` or `[T, O]`
    pub bias: Option<Tensor>,
    /// γ and β, `[O]` or `[T, O]`
    pub batch_norm: (Tensor, Tensor),
}

/// The convolution blocks of the target CNN.
#[derive(Clone, Debug)]
pub struct Cnn {
    blocks: Vec<Block>,
    config: CnnConfig,
    shapes: Vec<LayerShape>,
}

impl Cnn {
    /// Registers what is learned: kernels (Glorot), biases (0), normalisations.
    pub fn new(
        layout: &mut ParameterLayout,
        buffers: &mut ParameterLayout,
        config: &CnnConfig,
        shapes: &[LayerShape],
        learned: &[LearnedParts],
    ) -> Cnn {
        let size = config.options.kernel_size;
        let blocks = shapes
            .iter()
            .zip(learned)
            .enumerate()
            .map(|(layer, (shape, learned))| {
                let (inputs, outputs) = (shape.input.0, config.options.channels);
                let name = format!("cnn.layer{}", layer + 1);
                let (fan_in, fan_out) = (inputs * size * size, outputs * size * size);
                let kernel = [outputs, inputs, size, size].map(|length| length as i64);
                let glorot = Initial::Glorot { fan_in, fan_out };
                let (before_norm, after_norm) = config.sides(layer);
                Block {
                    kernel: learned
                        .kernel
                        .then(|| layout.add(format!("{name}.kernel"), &kernel, glorot)),
                    bias: learned.bias.then(|| {
                        let zero = Initial::Constant(0.0);
                        layout.add(format!("{name}.bias"), &[outputs as i64], zero)
                    }),
                    batch_norm: BatchNorm::new(
                        learned.batch_norm.then_some(layout),
                        buffers,
                        &format!("{name}.batch_norm"),
                        outputs,
                    ),
                    before_norm,
                    after_norm,
                }
            })
            .collect();
        Cnn {
            blocks,
            config: config.clone(),
            shapes: shapes.to_vec(),
        }
    }

    /// Its layers and sizes, without weights.
    pub fn config(&self) -> &CnnConfig {
        &self.config
    }

    /// Sizes of each block.
    pub fn shapes(&self) -> &[LayerShape] {
        &self.shapes
    }

    /// Length of the features that the logits layer reads.
    pub fn feature_length(&self) -> usize {
        self.config.feature_length(&self.shapes)
    }

    /// Weights of a kernel of block `layer`.
    pub fn kernel_length(&self, layer: usize) -> usize {
        let shape = &self.shapes[layer];
        shape.input.0 * shape.output.0 * self.config.options.kernel_size.pow(2)
    }

    /// The learned kernel of block `layer`, if it has one.
    pub fn learned_kernel<'a>(
        &self,
        parameters: &'a Parameters,
        layer: usize,
    ) -> Option<&'a Tensor> {
        self.blocks[layer].kernel.map(|id| parameters.get(id))
    }

    /// The weights of block `layer`: what is learned, plus what is generated.
    pub fn weights(
        &self,
        parameters: &Parameters,
        layer: usize,
        generated: Option<ConvolutionWeights>,
    ) -> LayerWeights {
        let block = &self.blocks[layer];
        let learned = |id: Option<ParameterId>| id.map(|id| parameters.get(id).shallow_clone());
        let (gamma, beta) = block.batch_norm.learned(parameters).unzip();
        // A single task's weights are used as shared ones are.
        let alone = |values: Tensor| match values.size()[0] {
            1 => values.squeeze_dim(0),
            _ => values,
        };
        let sum = |learned: Option<Tensor>, generated: Option<Tensor>| match (learned, generated) {
            (Some(learned), Some(generated)) => Some(learned + alone(generated)),
            (learned, generated) => learned.or(generated.map(alone)),
        };
        let (kernel, bias, norm) = generated.map_or((None, None, None), |weights| {
            (Some(weights.kernel), weights.bias, weights.batch_norm)
        });
        let (more_gamma, more_beta) = norm.unzip();
        let there = "a block's kernel and normalisation are learned or generated";
        LayerWeights {
            kernel: sum(learned(block.kernel), kernel).expect(there),
            bias: sum(learned(block.bias), bias),
            batch_norm: (
                sum(gamma, more_gamma).expect(there),
                sum(beta, more_beta).expect(there),
            ),
        }
    }

    /// Support activations `[T·N, C, H, W]` through block `layer`; the statistics they were normalised with are
    /// noted for the moving averages.
    pub fn support(
        &self,
        pass: &Pass,
        layer: usize,
        weights: &LayerWeights,
        values: &Tensor,
        observed: &mut Observed,
    ) -> (Tensor, Statistics) {
        let running = pass
            .uses_running()
            .then(|| self.blocks[layer].batch_norm.running(pass.buffers));
        let source = running
            .as_ref()
            .map_or(Source::Own(pass.support_mask), Source::Given);
        let (output, used) = self.block(pass, layer, weights, values, source);
        if pass.training {
            observed.note(&used);
        }
        (output, used)
    }

    /// Query images `[T·Q, C, H, W]` through all blocks → the images, then what each block makes of them; `support`
    /// holds weights and support statistics of each block.
    pub fn query(
        &self,
        pass: &Pass,
        images: Tensor,
        support: &[(LayerWeights, Statistics)],
    ) -> Vec<Tensor> {
        let given = pass.batch_norm == BatchNormMode::Support || pass.uses_running();
        let mut activations = vec![images];
        for (layer, (weights, statistics)) in support.iter().enumerate() {
            let source = if given {
                Source::Given(statistics)
            } else {
                Source::Own(None)
            };
            let (output, _) = self.block(pass, layer, weights, &activations[layer], source);
            activations.push(output);
        }
        activations
    }

    /// Last activations `[N, C, H, W]` → features `[N, length]`.
    pub fn features(&self, activations: &Tensor) -> Tensor {
        match self.config.options.head {
            Head::Flatten => activations.flatten(1, -1),
            Head::Average => activations.mean_dim(&[2i64, 3][..], false, None),
        }
    }

    /// One block, and the statistics that it was normalised with.
    fn block(
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
            let folded = affine.folded_into(&weights.kernel);
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
        let kernel = of_each_task(&affine.folded_into(kernel));
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
                (BlockOperation::Activation, _, Activation::LeakyRelu) => {
                    values.maximum(&(&values * LEAK))
                }
                (BlockOperation::Convolution | BlockOperation::BatchNorm, ..) => values,
            }
        })
    }
}

/// Slope of the leaky ReLU below 0.
pub const LEAK: f64 = 0.1;

/// A kernel, `[O, I, k, k]` or `[T, O, I, k, k]`, times factors of its output channels, `[O]` or `[T, O]`.
fn scaled(kernel: &Tensor, factors: &Tensor) -> Tensor {
    let mut shape = factors.size();
    shape.extend([1, 1, 1]);
    kernel * factors.view(&shape[..])
}
