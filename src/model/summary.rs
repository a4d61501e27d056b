//! Sizes and cost of a model, computed from its layout.

use serde::Serialize;

use crate::model::cnn::shapes::LayerShape;
use crate::model::generator::convolution::Convolution;
use crate::model::generator::generator::WeightGenerator;
use crate::model::hypertransformer::HyperTransformer;
use crate::model::map_size::MapSize;
use crate::model::parameter_group::ParameterGroup;
use crate::model::parameters::ParameterLayout;
use crate::model::part_cost::PartCost;

/// Bytes of a single-precision number.
const NUMBER: usize = 4;

/// Sizes and cost of a model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelSummary {
    /// The convolutions and then the logits layer.
    pub layers: Vec<LayerSummary>,
    /// Number of learned parameters φ.
    pub phi: usize,
    /// Parameters of the image embedding s_φ, part of φ.
    pub image_embedding: usize,
    /// Parameters of the training heads, part of φ.
    pub training_heads: usize,
    /// Weights of the target CNN's kernels and logits layer, learned and generated.
    pub cnn_weights: usize,
    /// Generated values per task, including biases, γ and β.
    pub theta: usize,
    /// Multiply-adds of the target CNN for one image.
    pub cnn_multiply_adds: usize,
    /// Multiply-adds from a support set to θ: embeddings, the CNN on the support images, the support gradient if it is
    /// used (a forward pass of the CNN and a backward pass of twice the cost), and the Transformers.
    pub generator_multiply_adds: usize,
    /// Approximate bytes of activations that a training episode keeps for the backward pass, CNN and generators.
    pub activation_bytes: usize,
}

/// One layer of the target CNN.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerSummary {
    /// `layer1` …, or `logits`.
    pub name: String,
    /// Size of the input.
    pub input: MapSize,
    /// Size of the output.
    pub output: MapSize,
    /// Whether its kernel or matrix has a learned part.
    pub learned: bool,
    /// Number of weights of the kernel, or of the matrix and bias.
    pub weights: usize,
    /// Multiply-adds for one image.
    pub multiply_adds: usize,
    /// The generator, if the layer has one.
    pub generator: Option<GeneratorSummary>,
}

/// One weight generator.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GeneratorSummary {
    /// Number of weight slices, which is the number of weight tokens.
    pub slices: usize,
    /// Length of a slice.
    pub slice_length: usize,
    /// Number of sample tokens.
    pub samples: usize,
    /// Number of features of a sample.
    pub features: usize,
    /// Width of a weight token.
    pub weight_token: usize,
    /// Width of a sample token.
    pub sample_token: usize,
    /// Number of parameters, part of φ.
    pub parameters: usize,
    /// Number of Transformer layers of each stack: encoder, then decoder.
    pub transformer_layers: Vec<usize>,
    /// Number of attention heads.
    pub heads: usize,
    /// Multiply-adds per task.
    pub multiply_adds: usize,
    /// Approximate bytes of activations that a training episode keeps for the backward pass.
    pub kept_bytes: usize,
}

impl ModelSummary {
    /// The summary of a model for episodes of `samples` support and `queries` query images.
    pub fn new(model: &HyperTransformer, samples: usize, queries: usize) -> ModelSummary {
        let layout = model.layout();
        let (cnn, convolutions) = (&model.cnn, &model.convolutions);
        let mut layers: Vec<LayerSummary> = cnn
            .shapes()
            .iter()
            .zip(convolutions)
            .enumerate()
            .map(|(layer, (shape, convolution))| {
                let group = ParameterGroup::ConvolutionGenerator(layer);
                let weights = cnn.config().kernel_size(shape).weights();
                LayerSummary {
                    name: group.layer_name(),
                    learned: convolution.has_learned_kernel(),
                    input: shape.input,
                    output: shape.output,
                    weights,
                    multiply_adds: weights * shape.convolved.area(),
                    generator: convolution.generated().map(|generated| {
                        generator_summary(&generated.generator, layout, group, samples, shape.input)
                    }),
                }
            })
            .collect();
        let length = cnn.feature_length();
        let way = model.way();
        let last = layers
            .last()
            .map_or([length, 1, 1].into(), |layer| layer.output);
        let group = ParameterGroup::LogitsGenerator;
        let generator = generator_summary(&model.logits, layout, group, samples, last);
        layers.push(LayerSummary {
            name: group.layer_name(),
            input: last,
            output: [way, 1, 1].into(),
            learned: false,
            weights: way * (length + 1),
            multiply_adds: way * length,
            generator: Some(generator),
        });
        let sum = |value: fn(&LayerSummary) -> usize| layers.iter().map(value).sum();
        let generators = || layers.iter().filter_map(|layer| layer.generator.as_ref());
        let cnn_multiply_adds: usize = sum(|layer| layer.multiply_adds);
        let image = cnn.shapes().first().map_or(last, |shape| shape.input);
        let embedding = model
            .image_embedding
            .as_ref()
            .map_or_else(PartCost::default, |embedding| embedding.cost(layout, image));
        let mut generated = convolutions.iter().filter_map(Convolution::generated);
        let passes = match generated.any(|one| one.generator.reads_support_gradient) {
            true => 4,
            false => 1,
        };
        let transformers: usize = generators().map(|one| one.multiply_adds).sum();
        // A block keeps the output of its convolution and twice the output of pooling.
        let kept = |shape: &LayerShape| shape.convolved.volume() + 2 * shape.output.volume();
        let kept: usize = cnn.shapes().iter().map(kept).sum();
        ModelSummary {
            phi: layout.total(),
            image_embedding: layout.total_of(|group| group == ParameterGroup::ImageEmbedding),
            training_heads: layout.total_of(ParameterGroup::is_training_head),
            cnn_weights: sum(|layer| layer.weights),
            theta: generators().map(|one| one.slices * one.slice_length).sum(),
            generator_multiply_adds: samples
                * (embedding.multiply_adds + passes * cnn_multiply_adds)
                + transformers,
            activation_bytes: NUMBER
                * (kept * (samples + queries) + embedding.activations * samples)
                + generators().map(|one| one.kept_bytes).sum::<usize>(),
            cnn_multiply_adds,
            layers,
        }
    }
}

fn generator_summary(
    generator: &WeightGenerator,
    layout: &ParameterLayout,
    group: ParameterGroup,
    samples: usize,
    activations: MapSize,
) -> GeneratorSummary {
    let tokens = &generator.tokens;
    let (weight_token, sample_token) = generator.token_widths();
    let (transformer_layers, heads) = generator.transformer_size();
    let cost = generator.cost(layout, samples, activations);
    GeneratorSummary {
        slices: tokens.slices,
        slice_length: tokens.slice_length,
        samples,
        features: tokens.features,
        weight_token,
        sample_token,
        parameters: layout.total_of(|other| other == group),
        transformer_layers,
        heads,
        multiply_adds: cost.multiply_adds,
        kept_bytes: NUMBER * cost.activations,
    }
}
