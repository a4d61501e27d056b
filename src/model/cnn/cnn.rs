//! The target CNN f(x; θ): purely functional, its weights come in as arguments.
use tch::Tensor;

use crate::model::cnn::batch_norm::BatchNorm;
use crate::model::cnn::shapes::{CnnConfig, LayerShape};
use crate::model::parameters::{Initial, ParameterId, ParameterKind, ParameterLayout, Parameters};
use crate::model::pass::{Observed, Pass};
use crate::model::statistics::{Source, Statistics};
use crate::model::weights::{ConvolutionWeights, LayerWeights};
use crate::settings::cnn::{BatchNormMode, BlockOperation, Head};

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
pub(crate) struct Block {
    kernel: Option<ParameterId>,
    bias: Option<ParameterId>,
    batch_norm: BatchNorm,
    pub(crate) before_norm: Vec<BlockOperation>,
    pub(crate) after_norm: Vec<BlockOperation>,
}

/// The convolution blocks of the target CNN.
#[derive(Clone, Debug)]
pub struct Cnn {
    pub(crate) blocks: Vec<Block>,
    pub(crate) config: CnnConfig,
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
                    kernel: learned.kernel.then(|| {
                        let name = format!("{name}.kernel");
                        layout.add(name, &kernel, ParameterKind::Matrix, glorot)
                    }),
                    bias: learned.bias.then(|| {
                        let (name, zero) = (format!("{name}.bias"), Initial::Constant(0.0));
                        layout.add(name, &[outputs as i64], ParameterKind::Bias, zero)
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
}
