//! a_φ for the logits layer: support features and labels → tokens → encoder → weight slices.

use tch::Tensor;

use super::allocation::{LogitsWeights, logits_from_slices};
use super::embedding::ActivationEmbedding;
use super::parameters::{Initial, LayerNorm, ParameterId, ParameterLayout, Parameters};
use super::tokens::Tokens;
use super::transformer::{Encoder, EncoderConfig};
use crate::config::experiment::{GeneratorOptions, Initialization, LogitsFeatures};

/// What the generator of the logits layer is built for.
#[derive(Clone, Debug)]
pub struct LogitsTarget {
    /// n, classes and weight slices.
    pub way: usize,
    /// Channels, height and width of the final activations.
    pub activations: (usize, usize, usize),
}

impl LogitsTarget {
    /// Length of the flattened final activations.
    pub fn flat_length(&self) -> usize {
        self.activations.0 * self.activations.1 * self.activations.2
    }
}

/// The weight generator of the logits layer.
#[derive(Clone, Debug)]
pub struct LogitsGenerator {
    /// Token layout with ξ and μ.
    pub tokens: Tokens,
    /// The encoder.
    pub encoder: Encoder,
    flat: bool,
    activation_embedding: Option<ActivationEmbedding>,
    /// None with the paper's initialisation.
    feature_norm: Option<LayerNorm>,
    output_scale: Option<ParameterId>,
}

impl LogitsGenerator {
    /// With `gradient_step` sample features pass a LayerNorm, and slices a learned scale that starts at
    /// 1/√(slice length); with `paper` neither is there.
    pub fn new(
        layout: &mut ParameterLayout,
        options: &GeneratorOptions,
        initialization: Initialization,
        target: &LogitsTarget,
    ) -> LogitsGenerator {
        let name = "generator.logits";
        let (channels, height, width) = target.activations;
        let flat = options.logits_features != LogitsFeatures::Embedded;
        let embedded = options.logits_features != LogitsFeatures::Flat;
        let features = options.activation_embedding.unwrap_or(channels);
        let activation_embedding = embedded.then(|| {
            let name = format!("{name}.activation_embedding");
            ActivationEmbedding::new(layout, &name, channels, (height, width), features, &[1])
        });
        let groups: Vec<usize> = [
            if flat { target.flat_length() } else { 0 },
            activation_embedding
                .as_ref()
                .map_or(0, |embedding| embedding.depth() * features),
            options.image_embedding,
        ]
        .into_iter()
        .filter(|&length| length > 0)
        .collect();
        let slice_length = target.flat_length() + 1;
        let tokens = Tokens::new(
            layout,
            name,
            target.way,
            options.label_dim,
            (target.way, slice_length),
            groups.iter().sum(),
        );
        let fraction = |fraction: f64| {
            let width = (tokens.width as f64 * fraction) as usize;
            width.max(1).next_multiple_of(options.heads)
        };
        let inner = options.inner_fraction;
        let encoder_config = EncoderConfig {
            width: tokens.width,
            layers: options.layers,
            heads: options.heads,
            query_key: fraction(options.query_key_fraction),
            value: fraction(options.value_fraction),
            inner: if inner > 0.0 { fraction(inner) } else { 0 },
        };
        let encoder = Encoder::new(layout, &format!("{name}.encoder"), &encoder_config);
        let prepared = initialization == Initialization::GradientStep;
        let feature_norm = prepared
            .then(|| LayerNorm::new(layout, &format!("{name}.feature_norm"), groups.iter().sum()));
        let output_scale = prepared.then(|| {
            let start = 1.0 / (slice_length as f32).sqrt();
            let shape = [slice_length as i64];
            layout.add(
                format!("{name}.output_scale"),
                &shape,
                Initial::Constant(start),
            )
        });
        LogitsGenerator {
            tokens,
            encoder,
            flat,
            activation_embedding,
            feature_norm,
            output_scale,
        }
    }

    /// Support activations `[T·N, C, H, W]`, image embeddings `[T·N, e]` and labels `[T, N]` → θ of the logits layer.
    pub fn generate(
        &self,
        parameters: &Parameters,
        activations: &Tensor,
        image_embeddings: Option<&Tensor>,
        labels: &Tensor,
    ) -> LogitsWeights {
        let features = self.features(parameters, activations, image_embeddings);
        let (tasks, samples) = labels.size2().unwrap_or_default();
        let features = features.view([tasks, samples, -1]);
        let sequence = self.tokens.sequence(parameters, &features, labels);
        let outputs = self
            .encoder
            .forward(parameters, &sequence, self.tokens.slices as i64);
        let slices = self.tokens.read(&outputs);
        logits_from_slices(&match self.output_scale {
            Some(scale) => slices * parameters.get(scale),
            None => slices,
        })
    }

    /// Features of the sample tokens, `[T·N, f]`: flat, embedded, image, those that are there, in this order.
    fn features(
        &self,
        parameters: &Parameters,
        activations: &Tensor,
        image_embeddings: Option<&Tensor>,
    ) -> Tensor {
        let flat = self.flat.then(|| activations.flatten(1, -1));
        let embedded = self
            .activation_embedding
            .as_ref()
            .map(|embedding| embedding.forward(parameters, activations));
        let image = image_embeddings.map(Tensor::shallow_clone);
        let groups: Vec<Tensor> = [flat, embedded, image].into_iter().flatten().collect();
        let features = Tensor::cat(&groups, 1);
        match &self.feature_norm {
            Some(norm) => norm.forward(parameters, &features),
            None => features,
        }
    }
}
