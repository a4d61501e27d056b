//! What each weight generator is built for, from the options of its layer.

use crate::model::cnn::shapes::LayerShape;
use crate::model::generator::embedding::ActivationEmbeddingConfig;
use crate::model::generator::generator::{OutputScale, Target};
use crate::model::generator::slices::ConvolutionSlices;
use crate::model::map_size::MapSize;
use crate::model::parameter_group::ParameterGroup;
use crate::settings::generator::{GeneratorOptions, LogitsFeatures};

/// The target of the generator of convolution `layer`. Generated kernels that are added to learned ones are initially a
/// tenth as large as these; other generated kernels are initially scaled so that activations keep their size.
pub(crate) fn convolution_target(
    options: &GeneratorOptions,
    layer: usize,
    shape: &LayerShape,
    slices: &ConvolutionSlices,
    labels: usize,
) -> Target {
    let area = slices.kernel_size * slices.kernel_size;
    let (fan_in, fan_out) = (slices.inputs * area, slices.outputs * area);
    let start = if options.learned_base {
        0.1 * (2.0 / (fan_in + fan_out) as f32).sqrt()
    } else {
        (1.0 / fan_in as f32).sqrt()
    };
    let default = slices.inputs.max(slices.outputs);
    let features = options.activation_embedding.unwrap_or(default);
    Target {
        group: ParameterGroup::ConvolutionGenerator(layer),
        labels,
        slices: (slices.count(), slices.length()),
        activations: shape.input,
        flat_length: 0,
        embedding: (features > 0).then_some(ActivationEmbeddingConfig {
            features,
            kernel_size: slices.kernel_size,
            strides: &[2, 1],
        }),
        output_scale: OutputScale {
            start,
            fixed: 1.0,
            always: options.learned_base,
        },
    }
}

/// The target of a generator of a logits layer from `length` features to `way` logits; a bias is the last element of
/// each slice. A logit is a sum of `length` products; the fixed scale keeps initial logits as large as with 8 features.
pub(crate) fn logits_target(
    group: ParameterGroup,
    options: &GeneratorOptions,
    activations: MapSize,
    (way, length): (usize, usize),
    labels: usize,
) -> Target {
    let flat = options.logits_features != LogitsFeatures::Embedded;
    let embedded = options.logits_features != LogitsFeatures::Flat;
    let features = options.activation_embedding.unwrap_or(activations.channels);
    Target {
        group,
        labels,
        slices: (way, length + 1),
        activations,
        flat_length: if flat { length } else { 0 },
        embedding: (embedded && features > 0).then_some(ActivationEmbeddingConfig {
            features,
            kernel_size: 3,
            strides: &[1],
        }),
        output_scale: OutputScale {
            start: 1.0 / ((length + 1) as f32).sqrt(),
            fixed: (3.0 / ((length + 1) as f64).sqrt()).min(1.0),
            always: false,
        },
    }
}
