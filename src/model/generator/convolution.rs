//! The weights of one convolution block: learned, or generated and optionally added to learned ones.

use tch::Tensor;

use crate::model::cnn::batch_norm::GammaBeta;
use crate::model::cnn::learned::{
    LearnedConvolution, learned_batch_norm, learned_bias, learned_kernel,
};
use crate::model::cnn::shapes::KernelSize;
use crate::model::generator::generator::WeightGenerator;
use crate::model::generator::slices::{ConvolutionSlices, SliceContents};
use crate::model::parameters::{ParameterId, ParameterLayout, Parameters};
use crate::model::weights::{LayerWeights, mean_squared_norm};
use crate::settings::generator::{Allocation, GeneratorOptions};

/// The origin of the weights of one convolution block.
#[derive(Clone, Debug)]
pub(crate) enum Convolution {
    /// All weights are learned.
    Learned(LearnedConvolution),
    /// A generator writes weights.
    Generated(Box<GeneratedConvolution>),
}

impl Convolution {
    /// The generator and how its slices become weights, if it has one.
    pub(crate) fn generated(&self) -> Option<&GeneratedConvolution> {
        match self {
            Convolution::Learned(_) => None,
            Convolution::Generated(generated) => Some(generated),
        }
    }

    /// Whether the kernel has a learned part.
    pub(crate) fn has_learned_kernel(&self) -> bool {
        self.generated()
            .is_none_or(|generated| generated.weights.kernel.is_some())
    }
}

/// A convolution block whose weights are generated.
#[derive(Clone, Debug)]
pub(crate) struct GeneratedConvolution {
    pub(crate) generator: WeightGenerator,
    pub(crate) weights: GeneratedWeights,
}

/// How slices, and learned weights that they are added to, become the weights of a block.
#[derive(Clone, Debug)]
pub(crate) struct GeneratedWeights {
    pub(crate) slices: ConvolutionSlices,
    /// The learned kernel that the generated one is added to.
    kernel: Option<ParameterId>,
    bias: Option<GeneratedValue>,
    batch_norm: BatchNormWeights,
}

/// One generated value per output channel.
#[derive(Clone, Copy, Debug)]
struct GeneratedValue {
    /// Its number among the further values of a slice.
    index: usize,
    /// The learned parameter that it is added to.
    learned: Option<ParameterId>,
}

/// The origin of γ and β.
#[derive(Clone, Copy, Debug)]
enum BatchNormWeights {
    Learned(GammaBeta),
    Generated {
        gamma: GeneratedValue,
        beta: GeneratedValue,
    },
}

impl GeneratedWeights {
    /// Registers what is learned of convolution `layer`: with `learned_base` everything that is generated has a learned
    /// part too; γ and β that are not generated are learned.
    pub(crate) fn new(
        layout: &mut ParameterLayout,
        options: &GeneratorOptions,
        layer: usize,
        size: KernelSize,
    ) -> GeneratedWeights {
        let base = options.learned_base;
        let kernel = base.then(|| learned_kernel(layout, layer, size));
        let mut further = 0;
        let mut next = |learned| {
            further += 1;
            let index = further - 1;
            GeneratedValue { index, learned }
        };
        let bias = options.generate_bias.then(|| {
            let learned = base.then(|| learned_bias(layout, layer, size.outputs));
            next(learned)
        });
        let mut learned_norm = || learned_batch_norm(layout, layer, size.outputs);
        let batch_norm = match options.generate_batch_norm {
            false => BatchNormWeights::Learned(learned_norm()),
            true => {
                let (gamma, beta) = base.then(|| learned_norm().ids()).unzip();
                BatchNormWeights::Generated {
                    gamma: next(gamma),
                    beta: next(beta),
                }
            }
        };
        GeneratedWeights {
            slices: ConvolutionSlices {
                contents: match options.allocation {
                    Allocation::Output => SliceContents::OutputChannel { further },
                    Allocation::Spatial => SliceContents::KernelPosition,
                },
                outputs: size.outputs,
                inputs: size.inputs,
                kernel_size: size.side,
            },
            kernel,
            bias,
            batch_norm,
        }
    }

    /// The weights of the block from slices, `[T, count, length]`.
    pub(crate) fn weights(&self, parameters: &Parameters, slices: &Tensor) -> LayerWeights {
        self.with_kernel(parameters, slices, self.slices.kernel(slices))
    }

    /// The weights of the block and, if its kernel has a learned part, Σ generated² / Σ learned² of the kernel,
    /// averaged over tasks.
    pub(crate) fn weights_and_variation(
        &self,
        parameters: &Parameters,
        slices: &Tensor,
    ) -> (LayerWeights, Option<Tensor>) {
        let kernel = self.slices.kernel(slices);
        let variation = self.kernel.map(|learned| {
            let learned = parameters.get(learned);
            mean_squared_norm(&kernel) / (learned.square().sum(None) + 1e-8)
        });
        (self.with_kernel(parameters, slices, kernel), variation)
    }

    /// The weights of the block with this generated kernel.
    fn with_kernel(
        &self,
        parameters: &Parameters,
        slices: &Tensor,
        kernel: Tensor,
    ) -> LayerWeights {
        let value = |value: GeneratedValue| {
            let generated = self.slices.channel_value(slices, value.index);
            sum(parameters, value.learned, generated)
        };
        LayerWeights {
            kernel: sum(parameters, self.kernel, kernel),
            bias: self.bias.map(value),
            batch_norm: match self.batch_norm {
                BatchNormWeights::Learned(learned) => learned.values(parameters),
                BatchNormWeights::Generated { gamma, beta } => (value(gamma), value(beta)),
            },
        }
    }
}

/// Generated values, `[T, …]`, plus a learned parameter, if there is one. A single task's weights lose the axis of
/// tasks, so that they are computed like shared weights.
fn sum(parameters: &Parameters, learned: Option<ParameterId>, generated: Tensor) -> Tensor {
    let generated = match generated.size()[0] {
        1 => generated.squeeze_dim(0),
        _ => generated,
    };
    match learned {
        Some(learned) => parameters.get(learned) + generated,
        None => generated,
    }
}
