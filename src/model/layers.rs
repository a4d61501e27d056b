//! Layers that several parts of the model are made of.

use tch::Tensor;

use crate::model::parameters::{Initial, ParameterId, ParameterKind, ParameterLayout, Parameters};
use crate::model::part_cost::PartCost;

/// A dense layer, x Wᵀ + b.
#[derive(Clone, Copy, Debug)]
pub struct Dense {
    /// W, `[outputs, inputs]`.
    pub weight: ParameterId,
    /// b, `[outputs]`.
    pub bias: ParameterId,
}

impl Dense {
    /// Registers `{name}.weight`, Glorot-uniform, and `{name}.bias`, zero.
    pub fn new(layout: &mut ParameterLayout, name: &str, inputs: usize, outputs: usize) -> Dense {
        let initial = Initial::Glorot {
            fan_in: inputs,
            fan_out: outputs,
        };
        Dense {
            weight: layout.add(
                format!("{name}.weight"),
                &[outputs as i64, inputs as i64],
                ParameterKind::Matrix,
                initial,
            ),
            bias: layout.add(
                format!("{name}.bias"),
                &[outputs as i64],
                ParameterKind::Bias,
                Initial::Constant(0.0),
            ),
        }
    }

    /// Number of inputs.
    pub fn inputs(&self, layout: &ParameterLayout) -> usize {
        layout.spec(self.weight).shape[1] as usize
    }

    /// Number of outputs.
    pub fn outputs(&self, layout: &ParameterLayout) -> usize {
        layout.spec(self.weight).shape[0] as usize
    }

    /// Cost of one row of inputs.
    pub fn cost(&self, layout: &ParameterLayout) -> PartCost {
        PartCost {
            multiply_adds: layout.spec(self.weight).len(),
            activations: self.outputs(layout),
        }
    }

    /// `[…, inputs]` → `[…, outputs]`.
    pub fn forward(&self, parameters: &Parameters, input: &Tensor) -> Tensor {
        input.linear(parameters.get(self.weight), Some(parameters.get(self.bias)))
    }
}

/// Layer normalisation over the last axis.
#[derive(Clone, Copy, Debug)]
pub struct LayerNorm {
    /// Gain, `[width]`, initially 1.
    pub weight: ParameterId,
    /// Offset, `[width]`, initially 0.
    pub bias: ParameterId,
    width: i64,
}

impl LayerNorm {
    /// Added to the variance, as in the authors' program.
    const EPSILON: f64 = 1e-6;

    /// Registers `{name}.weight`, one, and `{name}.bias`, zero.
    pub fn new(layout: &mut ParameterLayout, name: &str, width: usize) -> LayerNorm {
        let width = width as i64;
        let mut add = |part: &str, kind, start| {
            let name = format!("{name}.{part}");
            layout.add(name, &[width], kind, Initial::Constant(start))
        };
        LayerNorm {
            weight: add("weight", ParameterKind::Gain, 1.0),
            bias: add("bias", ParameterKind::Bias, 0.0),
            width,
        }
    }

    /// `[…, width]` → `[…, width]`.
    pub fn forward(&self, parameters: &Parameters, input: &Tensor) -> Tensor {
        input.layer_norm(
            [self.width],
            Some(parameters.get(self.weight)),
            Some(parameters.get(self.bias)),
            Self::EPSILON,
            false,
        )
    }
}
