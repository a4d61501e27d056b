//! What a model is made of and what it costs, without computing anything.
use serde::Serialize;

use crate::model::generator::generator::WeightGenerator;
use crate::model::hypertransformer::HyperTransformer;
use crate::model::parameters::ParameterLayout;
use crate::model::part_cost::PartCost;
use crate::model::training_heads::TRAINING_HEADS;

/// Bytes of a number.
const NUMBER: usize = 4;

/// What a model is made of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelSummary {
    /// The convolutions, then the logits layer.
    pub layers: Vec<LayerSummary>,
    /// Learned parameters φ.
    pub phi: usize,
    /// Of these, in the image embedding s_φ.
    pub image_embedding: usize,
    /// Of these, in heads that only training has.
    pub training_heads: usize,
    /// Weights of the target CNN's kernels and its logits layer, learned and generated.
    pub cnn_weights: usize,
    /// All that is generated for a task, biases and normalisations too.
    pub theta: usize,
    /// Multiply-adds of the target CNN on one image.
    pub cnn_multiply_adds: usize,
    /// Multiply-adds from a support set to θ: embeddings, the CNN on the support images, the gradient whose direction
    /// weight tokens may hold (the CNN forward, and twice as much back), and the Transformers.
    pub generator_multiply_adds: usize,
    /// Bytes that one training episode keeps for its gradient, CNN and generators, about.
    pub activation_bytes: usize,
}

/// One layer of the target CNN.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerSummary {
    /// `layer1` … or `logits`.
    pub name: String,
    /// Channels, height and width before.
    pub input: (usize, usize, usize),
    /// Channels, height and width after.
    pub output: (usize, usize, usize),
    /// Whether its kernel or matrix has a learned part.
    pub learned: bool,
    /// Weights of its kernel, or of its matrix and bias.
    pub weights: usize,
    /// On one image.
    pub multiply_adds: usize,
    /// The generator, where it has one.
    pub generator: Option<GeneratorSummary>,
}

/// One weight generator.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GeneratorSummary {
    /// Number of weight slices, and weight tokens.
    pub slices: usize,
    /// Length of a slice.
    pub slice_length: usize,
    /// Sample tokens.
    pub samples: usize,
    /// Features of a sample.
    pub features: usize,
    /// Width of a weight token.
    pub weight_token: usize,
    /// Width of a sample token.
    pub sample_token: usize,
    /// Its part of φ.
    pub parameters: usize,
    /// Layers of its Transformer, one number a stack: encoder, then decoder.
    pub transformer_layers: Vec<usize>,
    /// Heads of each layer.
    pub heads: usize,
    /// For one task.
    pub multiply_adds: usize,
    /// Bytes that one training episode keeps for its gradient, about.
    pub kept_bytes: usize,
}

impl HyperTransformer {
    /// For episodes of `samples` support and `queries` query images.
    pub fn summary(&self, samples: usize, queries: usize) -> ModelSummary {
        let layout = self.layout();
        let mut layers: Vec<LayerSummary> = self
            .cnn
            .shapes()
            .iter()
            .zip(&self.convolutions)
            .enumerate()
            .map(|(layer, (shape, generator))| {
                let name = format!("layer{}", layer + 1);
                let weights = self.cnn.kernel_length(layer);
                LayerSummary {
                    learned: layout.total_below(&format!("cnn.{name}.kernel")) > 0,
                    input: shape.input,
                    output: shape.output,
                    weights,
                    multiply_adds: weights * shape.convolved.1 * shape.convolved.2,
                    generator: generator.as_ref().map(|(generator, _)| {
                        generator_summary(generator, layout, &name, samples, shape.input)
                    }),
                    name,
                }
            })
            .collect();
        let length = self.cnn.feature_length();
        let way = self.logits.tokens.slices;
        let last = layers.last().map_or((length, 1, 1), |layer| layer.output);
        layers.push(LayerSummary {
            name: "logits".to_owned(),
            input: last,
            output: (way, 1, 1),
            learned: false,
            weights: way * (length + 1),
            multiply_adds: way * length,
            generator: Some(generator_summary(
                &self.logits,
                layout,
                "logits",
                samples,
                last,
            )),
        });
        let sum = |value: fn(&LayerSummary) -> usize| layers.iter().map(value).sum();
        let generators = || layers.iter().filter_map(|layer| layer.generator.as_ref());
        let cnn_multiply_adds: usize = sum(|layer| layer.multiply_adds);
        let image = self.cnn.shapes().first().map_or(last, |shape| shape.input);
        let embedding = self
            .image_embedding
            .as_ref()
            .map_or_else(PartCost::default, |embedding| {
                embedding.cost(layout, (image.1, image.2))
            });
        let generated = || self.convolutions.iter().flatten();
        let passes = match generated().any(|(generator, _)| generator.begins_with_gradient) {
            true => 4,
            false => 1,
        };
        let transformers: usize = generators().map(|one| one.multiply_adds).sum();
        // A block keeps what its convolution gave, and twice what pooling left of it.
        let kept: usize = self
            .cnn
            .shapes()
            .iter()
            .map(|shape| {
                let volume = |(channels, height, width)| channels * height * width;
                volume(shape.convolved) + 2 * volume(shape.output)
            })
            .sum();
        ModelSummary {
            phi: layout.total(),
            image_embedding: layout.total_below("image_embedding."),
            training_heads: TRAINING_HEADS
                .map(|name| layout.total_below(name))
                .iter()
                .sum(),
            cnn_weights: sum(|layer| layer.weights),
            theta: generators().map(|one| one.slices * one.slice_length).sum(),
            generator_multiply_adds: samples
                * (embedding.multiply_adds + passes * cnn_multiply_adds)
                + transformers,
            activation_bytes: NUMBER * (kept * (samples + queries) + embedding.kept * samples)
                + generators().map(|one| one.kept_bytes).sum::<usize>(),
            cnn_multiply_adds,
            layers,
        }
    }
}

fn generator_summary(
    generator: &WeightGenerator,
    layout: &ParameterLayout,
    layer: &str,
    samples: usize,
    (_, height, width): (usize, usize, usize),
) -> GeneratorSummary {
    let tokens = &generator.tokens;
    let (weight_token, sample_token) = generator.token_widths();
    let (transformer_layers, heads) = generator.transformer_size();
    let cost = generator.cost(layout, samples, (height, width));
    GeneratorSummary {
        slices: tokens.slices,
        slice_length: tokens.slice_length,
        samples,
        features: tokens.features,
        weight_token,
        sample_token,
        parameters: layout.total_below(&format!("generator.{layer}.")),
        transformer_layers,
        heads,
        multiply_adds: cost.multiply_adds,
        kept_bytes: NUMBER * cost.kept,
    }
}
