//! Weight slices ⇄ layer weights (§4.1).
//!
//! Output allocation: one slice an output channel. Spatial allocation: one slice a place of the kernel.
use tch::Tensor;

use crate::model::weights::{ConvolutionWeights, LogitsWeights};
use crate::settings::generator::Allocation;

/// How slices fill the weights of one convolution.
#[derive(Clone, Copy, Debug)]
pub struct ConvolutionSlices {
    /// Output or spatial.
    pub allocation: Allocation,
    /// O
    pub outputs: usize,
    /// I
    pub inputs: usize,
    /// k
    pub kernel_size: usize,
    /// Whether a slice ends with a bias (output allocation only).
    pub bias: bool,
    /// Whether a slice ends with γ and β (output allocation only).
    pub batch_norm: bool,
}

impl ConvolutionSlices {
    /// Number of slices.
    pub fn count(&self) -> usize {
        match self.allocation {
            Allocation::Output => self.outputs,
            Allocation::Spatial => self.kernel_size * self.kernel_size,
        }
    }

    /// Length of a slice.
    pub fn length(&self) -> usize {
        match self.allocation {
            Allocation::Output => {
                let extra = usize::from(self.bias) + 2 * usize::from(self.batch_norm);
                self.inputs * self.kernel_size * self.kernel_size + extra
            }
            Allocation::Spatial => self.inputs * self.outputs,
        }
    }

    /// Slices `[T, count, length]` as weights.
    pub fn weights(&self, slices: &Tensor) -> ConvolutionWeights {
        let tasks = slices.size()[0];
        let [outputs, inputs, size] =
            [self.outputs, self.inputs, self.kernel_size].map(|length| length as i64);
        if self.allocation == Allocation::Spatial {
            let kernel = slices
                .view([tasks, size, size, inputs, outputs])
                .permute([0, 4, 3, 1, 2]);
            return ConvolutionWeights {
                kernel,
                bias: None,
                batch_norm: None,
            };
        }
        let length = inputs * size * size;
        let kernel = slices
            .narrow(2, 0, length)
            .reshape([tasks, outputs, inputs, size, size]);
        let at = |offset: i64| slices.select(2, length + offset);
        let after_bias = i64::from(self.bias);
        ConvolutionWeights {
            kernel,
            bias: self.bias.then(|| at(0)),
            batch_norm: self
                .batch_norm
                .then(|| (at(after_bias), at(after_bias + 1))),
        }
    }

    /// The slices that these weights were made of, `[T, count, length]`.
    pub fn slices(&self, weights: &ConvolutionWeights) -> Tensor {
        let kernel = &weights.kernel;
        let tasks = kernel.size()[0];
        if self.allocation == Allocation::Spatial {
            let places = (self.kernel_size * self.kernel_size) as i64;
            return kernel.permute([0, 3, 4, 2, 1]).reshape([tasks, places, -1]);
        }
        let mut parts = vec![kernel.flatten(2, -1)];
        parts.extend(weights.bias.as_ref().map(|bias| bias.unsqueeze(2)));
        if let Some((gamma, beta)) = &weights.batch_norm {
            parts.extend([gamma.unsqueeze(2), beta.unsqueeze(2)]);
        }
        Tensor::cat(&parts, 2)
    }
}

/// Slices `[T, n, length + 1]`, the bias last, as a logits layer.
pub fn logits_from_slices(slices: &Tensor) -> LogitsWeights {
    let length = slices.size()[2] - 1;
    LogitsWeights {
        weight: slices.narrow(2, 0, length),
        bias: slices.select(2, length),
    }
}

/// Σ w² of per-task weights `[T, …]`, averaged over tasks.
pub(crate) fn mean_squared_norm(weights: &Tensor) -> Tensor {
    weights.square().sum(None) / weights.size()[0] as f64
}
