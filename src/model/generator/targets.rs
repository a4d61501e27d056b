//! From an experiment's options: the target CNN, what is learned of each layer, and what each generator is built for.
use crate::model::cnn::cnn::LearnedParts;
use crate::model::cnn::shapes::LayerShape;
use crate::model::generator::generator::{OutputScale, Target};
use crate::model::generator::slices::ConvolutionSlices;
use crate::settings::cnn::CnnOptions;
use crate::settings::generator::{GeneratorOptions, LogitsFeatures};

/// What is learned of a layer.
pub(crate) fn learned_parts(options: &GeneratorOptions, generated: bool) -> LearnedParts {
    let base = !generated || options.learned_base;
    LearnedParts {
        kernel: base,
        bias: generated && options.learned_base && options.generate_bias,
        batch_norm: base || !options.generate_batch_norm,
    }
}

/// How the slices of a generated convolution are cut.
pub(crate) fn convolution_slices(
    options: &GeneratorOptions,
    cnn: &CnnOptions,
    shape: &LayerShape,
) -> ConvolutionSlices {
    ConvolutionSlices {
        allocation: options.allocation,
        outputs: cnn.channels,
        inputs: shape.input.0,
        kernel_size: cnn.kernel_size,
        bias: options.generate_bias,
        batch_norm: options.generate_batch_norm,
    }
}

/// Generated kernels start a tenth as large as the learned ones that they are added to; alone, so that activations
/// keep their size.
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
        name: format!("generator.layer{}", layer + 1),
        labels,
        slices: (slices.count(), slices.length()),
        activations: shape.input,
        flat_length: 0,
        embedding: (features > 0).then_some((features, slices.kernel_size, &[2, 1])),
        output_scale: OutputScale {
            start,
            fixed: 1.0,
            always: options.learned_base,
        },
    }
}

/// A layer from `length` features to logits; its slices hold a bias at their end. Logits are sums of as many products as
/// there are features: the fixed scale keeps them, at the start, as large as with 8 features.
pub(crate) fn logits_target(
    name: &str,
    options: &GeneratorOptions,
    activations: (usize, usize, usize),
    (way, length): (usize, usize),
    labels: usize,
) -> Target {
    let flat = options.logits_features != LogitsFeatures::Embedded;
    let embedded = options.logits_features != LogitsFeatures::Flat;
    let features = options.activation_embedding.unwrap_or(activations.0);
    Target {
        name: name.to_owned(),
        labels,
        slices: (way, length + 1),
        activations,
        flat_length: if flat { length } else { 0 },
        embedding: (embedded && features > 0).then_some((features, 3, &[1])),
        output_scale: OutputScale {
            start: 1.0 / ((length + 1) as f32).sqrt(),
            fixed: (3.0 / ((length + 1) as f64).sqrt()).min(1.0),
            always: false,
        },
    }
}
