//! Learned weights of the convolution blocks of the target CNN.

use crate::model::cnn::batch_norm::GammaBeta;
use crate::model::cnn::shapes::KernelSize;
use crate::model::parameter_group::ParameterGroup;
use crate::model::parameters::{Initial, ParameterId, ParameterKind, ParameterLayout, Parameters};
use crate::model::weights::LayerWeights;

/// A block whose weights are all learned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LearnedConvolution {
    kernel: ParameterId,
    batch_norm: GammaBeta,
}

impl LearnedConvolution {
    /// Registers the kernel, γ and β of convolution `layer`.
    pub(crate) fn new(
        layout: &mut ParameterLayout,
        layer: usize,
        size: KernelSize,
    ) -> LearnedConvolution {
        LearnedConvolution {
            kernel: learned_kernel(layout, layer, size),
            batch_norm: learned_batch_norm(layout, layer, size.outputs),
        }
    }

    /// The weights, shared by all tasks.
    pub(crate) fn weights(&self, parameters: &Parameters) -> LayerWeights {
        LayerWeights {
            kernel: parameters.get(self.kernel).shallow_clone(),
            bias: None,
            batch_norm: self.batch_norm.values(parameters),
        }
    }
}

/// Registers the kernel of convolution `layer`, Glorot-uniform.
pub(crate) fn learned_kernel(
    layout: &mut ParameterLayout,
    layer: usize,
    size: KernelSize,
) -> ParameterId {
    let KernelSize {
        outputs,
        inputs,
        side,
    } = size;
    let initial = Initial::Glorot {
        fan_in: inputs * side * side,
        fan_out: outputs * side * side,
    };
    let shape = [outputs, inputs, side, side].map(|length| length as i64);
    let name = format!("{}.kernel", ParameterGroup::Convolution(layer));
    layout.add(name, &shape, ParameterKind::Matrix, initial)
}

/// Registers the bias of convolution `layer`, zero.
pub(crate) fn learned_bias(
    layout: &mut ParameterLayout,
    layer: usize,
    outputs: usize,
) -> ParameterId {
    let (name, zero) = (
        format!("{}.bias", ParameterGroup::Convolution(layer)),
        Initial::Constant(0.0),
    );
    layout.add(name, &[outputs as i64], ParameterKind::Bias, zero)
}

/// Registers γ and β of the normalisation of convolution `layer`.
pub(crate) fn learned_batch_norm(
    layout: &mut ParameterLayout,
    layer: usize,
    channels: usize,
) -> GammaBeta {
    let name = batch_norm_name(layer);
    GammaBeta::new(layout, &name, channels)
}

/// The beginning of the names of γ, β and moving averages of convolution `layer`.
pub(crate) fn batch_norm_name(layer: usize) -> String {
    format!("{}.batch_norm", ParameterGroup::Convolution(layer))
}
