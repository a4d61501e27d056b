//! The `generator` section of an experiment: which layers are generated, by which Transformers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_yaml::{Mapping, Value};

use crate::settings::generated_layers::GeneratedLayers;

/// The activation features that the logits generator reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogitsFeatures {
    /// The activation embedding h_φ, as in the paper.
    Embedded,
    /// The flattened output of the last block.
    Flat,
    /// Both.
    Both,
}

/// The arrangement of a generator's Transformer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GeneratorKind {
    /// One encoder over weight and sample tokens (Fig. 2).
    Encoder,
    /// An encoder and a decoder, both over weight and sample tokens (Fig. 5).
    EncoderDecoder,
    /// An encoder over sample tokens and a decoder over weight tokens with cross-attention to the encoder's output.
    Separate,
}

/// How attention scores become attention weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttentionKind {
    /// The weights of a token sum to 1.
    #[default]
    Softmax,
    /// Each weight depends on its own score only.
    Sigmoid,
}

impl AttentionKind {
    /// Whether the attention weights of a token sum to 1, so that its output is an average;
    /// `initialization: gradient_step` requires this.
    pub fn is_average(self) -> bool {
        match self {
            AttentionKind::Softmax => true,
            AttentionKind::Sigmoid => false,
        }
    }
}

/// The nonlinearity between the two layers of a Transformer's perceptron.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InnerNonlinearity {
    /// max(x, 0).
    #[default]
    Relu,
    /// max(x, 0.1 x).
    LeakyRelu,
    /// x Φ(x).
    Gelu,
}

/// How the weights of a convolution are cut into slices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    /// One slice per output channel: its kernel, and its bias, γ and β if they are generated.
    #[default]
    Output,
    /// One slice per kernel position: the weights of all pairs of input and output channels.
    Spatial,
}

/// The initial values of φ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initialization {
    /// Random, as in the authors' program.
    #[default]
    Paper,
    /// The initial self-attention equals one gradient step on the logits layer (Appendix A).
    GradientStep,
}

/// The weight generators.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GeneratorOptions {
    /// Generated layers: `logits` for the logits layer only, `all`, `first N` or `last N` convolutions, or
    /// `layers A B …`. The logits layer is always generated.
    pub generates: GeneratedLayers,
    /// How the weights of a generated convolution are cut into slices.
    pub allocation: Allocation,
    /// Whether the generated weights of convolutions are added to learned ones.
    pub learned_base: bool,
    /// Whether a generated convolution has a generated bias (`output` allocation).
    pub generate_bias: bool,
    /// Whether γ and β after a generated convolution are generated (`output` allocation).
    pub generate_batch_norm: bool,
    /// Whether the weight tokens of a convolution hold, after μ, the direction in which a gradient step on the support
    /// set would change their slices. All generated convolutions then need `learned_base`.
    pub support_gradient: bool,
    /// Arrangement of the Transformer.
    pub kind: GeneratorKind,
    /// Whether normalisation comes before each sublayer instead of after it.
    pub pre_norm: bool,
    /// d, the width of ξ and μ.
    pub label_dim: usize,
    /// Width of the image embedding s_φ; 0: none.
    pub image_embedding: usize,
    /// Whether the convolutions of s_φ have batch normalisation.
    pub image_embedding_batch_norm: bool,
    /// Output channels of the convolutions of the activation embedding h_φl; 0: no embedding, null: the larger of the
    /// layer's input and output channels.
    pub activation_embedding: Option<usize>,
    /// The activation features that the logits generator reads.
    pub logits_features: LogitsFeatures,
    /// Number of layers of an encoder, and of a decoder.
    pub layers: usize,
    /// Number of attention heads.
    pub heads: usize,
    /// ν of queries and keys: their width relative to the token width, rounded up to a multiple of `heads`.
    pub query_key_fraction: f64,
    /// ν of values.
    pub value_fraction: f64,
    /// ν of the inner fully-connected layer; 0: no such layer.
    pub inner_fraction: f64,
    /// How attention scores become attention weights.
    pub attention: AttentionKind,
    /// Nonlinearity of the inner fully-connected layer.
    pub inner_nonlinearity: InnerNonlinearity,
    /// Whether the inner layer of the last Transformer layer has no nonlinearity.
    pub skip_last_nonlinearity: bool,
    /// Dropout probability of the outputs of Transformer sublayers.
    pub dropout: f64,
    /// Dropout probability of the features of sample tokens.
    pub feature_dropout: f64,
    /// Settings of single layers that differ from those above: `logits` or the number of a convolution, from 1, and
    /// keys of this section.
    pub per_layer: BTreeMap<String, Mapping>,
}

impl GeneratorOptions {
    /// Keys that apply to all layers and cannot differ between them.
    pub const SHARED: [&str; 5] = [
        "generates",
        "image_embedding",
        "image_embedding_batch_norm",
        "logits_features",
        "per_layer",
    ];

    /// The key of the logits layer in `per_layer`.
    pub const LOGITS: &str = "logits";

    /// The settings of the logits layer, of a valid experiment.
    ///
    /// # Panics
    /// If a value of its `per_layer` section has the wrong type.
    pub fn of_logits(&self) -> GeneratorOptions {
        self.of_layer(Self::LOGITS)
    }

    /// The settings of convolution `layer`, counted from 0, of a valid experiment.
    ///
    /// # Panics
    /// If a value of its `per_layer` section has the wrong type.
    pub fn of_convolution(&self, layer: usize) -> GeneratorOptions {
        self.of_layer(&(layer + 1).to_string())
    }

    fn of_layer(&self, key: &str) -> GeneratorOptions {
        match self.per_layer.get(key) {
            Some(changes) => self.changed(changes).expect("the experiment is valid"),
            None => self.clone(),
        }
    }

    /// These settings with the values of some keys replaced.
    ///
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
