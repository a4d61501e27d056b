//! The weight generators: which layers they write, and how their Transformers are built.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_yaml::{Mapping, Value};

use crate::settings::generated_layers::GeneratedLayers;

/// What the logits generator sees of the activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogitsFeatures {
    /// The activation embedding h_φ (the paper).
    Embedded,
    /// The flattened final activations.
    Flat,
    /// Both.
    Both,
}

/// How a generator's Transformer is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GeneratorKind {
    /// One encoder over weight and sample tokens (Fig. 2).
    Encoder,
    /// An encoder and a decoder, both over weight and sample tokens (Fig. 5).
    EncoderDecoder,
    /// An encoder over sample tokens, a decoder over weight tokens that attends to what it made of them.
    Separate,
}

/// How scores become shares of attention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionKind {
    /// Shares of a token sum to 1.
    #[default]
    Softmax,
    /// Each score by itself.
    Sigmoid,
}

/// Between the two layers of a Transformer's perceptron.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InnerNonlinearity {
    /// max(x, 0)
    #[default]
    Relu,
    /// With slope 0.1 below 0.
    LeakyRelu,
    /// x Φ(x)
    Gelu,
}

/// How the weights of a convolution are cut into slices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    /// One slice an output channel: its kernel, and what else is generated for the channel.
    #[default]
    Output,
    /// One slice a place of the kernel: all input-output pairs.
    Spatial,
}

/// How φ starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initialization {
    /// Random, as in the authors' program.
    #[default]
    Paper,
    /// Self-attention starts as one gradient step on the logits layer (Appendix A).
    GradientStep,
}

/// The weight generator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeneratorOptions {
    /// Which layers are generated: `logits` alone, `all`, `first N` or `last N` convolutions, or `layers A B …`; the
    /// logits layer always is.
    pub generates: GeneratedLayers,
    /// How the weights of a generated convolution are cut into slices.
    pub allocation: Allocation,
    /// Whether generated weights are added to learned ones (convolutions).
    pub learned_base: bool,
    /// Whether a generated convolution has a generated bias (`output` allocation).
    pub generate_bias: bool,
    /// Whether γ and β after a generated convolution are generated (`output` allocation).
    pub generate_batch_norm: bool,
    /// Whether the tokens of a convolution's weight slices hold, after μ, the direction in which a loss on the support set
    /// would move them; all generated convolutions then need `learned_base`.
    pub support_gradient: bool,
    /// How the Transformer is built.
    pub kind: GeneratorKind,
    /// Norm before each sublayer instead of after it.
    pub pre_norm: bool,
    /// d, width of ξ and μ.
    pub label_dim: usize,
    /// Width of the image embedding s_φ; 0 leaves it out.
    pub image_embedding: usize,
    /// Whether the convolutions of s_φ have batch-norm.
    pub image_embedding_batch_norm: bool,
    /// Features of a convolution of the activation embedding h_φl; 0 leaves it out, null takes the larger of a
    /// layer's input and output channels.
    pub activation_embedding: Option<usize>,
    /// What the logits generator sees of the activations.
    pub logits_features: LogitsFeatures,
    /// Layers of an encoder, and of a decoder.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// ν of queries and keys: their width as a fraction of the token width, rounded up to a multiple of `heads`.
    pub query_key_fraction: f64,
    /// ν of values.
    pub value_fraction: f64,
    /// ν of the inner fully-connected layer; 0 leaves the layer out.
    pub inner_fraction: f64,
    /// How scores become shares of attention.
    pub attention: AttentionKind,
    /// In the inner fully-connected layer.
    pub inner_nonlinearity: InnerNonlinearity,
    /// Whether the inner layer of the last Transformer layer has none.
    pub skip_last_nonlinearity: bool,
    /// Probability that training drops an element of what a sublayer of the Transformer adds.
    pub dropout: f64,
    /// Probability that training drops a feature of a sample token.
    pub feature_dropout: f64,
    /// Settings of single layers that differ from those above: `logits` or a convolution's number, from 1, then keys
    /// of this section.
    pub per_layer: BTreeMap<String, Mapping>,
}

impl GeneratorOptions {
    /// Keys that concern all layers together and so cannot differ between them.
    pub const SHARED: [&str; 5] = [
        "generates",
        "image_embedding",
        "image_embedding_batch_norm",
        "logits_features",
        "per_layer",
    ];

    /// The settings of one layer, `logits` or a convolution's number from 1, of a valid experiment.
    pub fn of_layer(&self, name: &str) -> GeneratorOptions {
        match self.per_layer.get(name) {
            Some(changes) => self.changed(changes).expect("the experiment is valid"),
            None => self.clone(),
        }
    }

    /// # Errors
    /// If a value has the wrong type.
    pub(crate) fn changed(&self, changes: &Mapping) -> Result<GeneratorOptions, serde_yaml::Error> {
        let mut settings = serde_yaml::to_value(self)?;
        if let Value::Mapping(settings) = &mut settings {
            settings.extend(changes.clone());
        }
        serde_yaml::from_value(settings)
    }
}

impl Default for GeneratorOptions {
    fn default() -> Self {
        GeneratorOptions {
            generates: GeneratedLayers::Logits,
            allocation: Allocation::Output,
            learned_base: false,
            generate_bias: false,
            generate_batch_norm: false,
            support_gradient: false,
            kind: GeneratorKind::Encoder,
            pre_norm: false,
            label_dim: 32,
            image_embedding: 32,
            image_embedding_batch_norm: true,
            activation_embedding: None,
            logits_features: LogitsFeatures::Embedded,
            layers: 3,
            heads: 2,
            query_key_fraction: 1.0,
            value_fraction: 1.0,
            inner_fraction: 1.0,
            attention: AttentionKind::Softmax,
            inner_nonlinearity: InnerNonlinearity::Relu,
            skip_last_nonlinearity: false,
            dropout: 0.0,
            feature_dropout: 0.0,
            per_layer: BTreeMap::new(),
        }
    }
}
