//! The joint encoder of the weight generator: post-norm, no mask, no positions (Fig. 2).

use tch::{Kind, Tensor};

use super::parameters::{Dense, LayerNorm, ParameterLayout, Parameters};

/// Sizes of an encoder.
#[derive(Clone, Debug)]
pub struct EncoderConfig {
    /// Token width D.
    pub width: usize,
    /// Number of layers.
    pub layers: usize,
    /// Number of heads.
    pub heads: usize,
    /// Width of queries and keys, all heads together.
    pub query_key: usize,
    /// Width of values, all heads together.
    pub value: usize,
    /// Width of the inner fully-connected layer; 0 leaves that sublayer out.
    pub inner: usize,
}

/// Self-attention and, unless `inner` is 0, a two-layer perceptron, each with a residual and a norm after it.
#[derive(Clone, Debug)]
pub struct EncoderLayer {
    /// Makes the queries.
    pub query: Dense,
    /// Makes the keys.
    pub key: Dense,
    /// Makes the values.
    pub value: Dense,
    /// Mixes the heads.
    pub output: Dense,
    attention_norm: LayerNorm,
    /// The perceptron's two layers and its norm.
    pub perceptron: Option<(Dense, Dense, LayerNorm)>,
    heads: i64,
}

impl EncoderLayer {
    fn new(layout: &mut ParameterLayout, name: &str, config: &EncoderConfig) -> EncoderLayer {
        let width = config.width;
        let attention = format!("{name}.attention");
        EncoderLayer {
            query: Dense::new(
                layout,
                &format!("{attention}.query"),
                width,
                config.query_key,
            ),
            key: Dense::new(layout, &format!("{attention}.key"), width, config.query_key),
            value: Dense::new(layout, &format!("{attention}.value"), width, config.value),
            output: Dense::new(layout, &format!("{attention}.output"), config.value, width),
            attention_norm: LayerNorm::new(layout, &format!("{name}.attention_norm"), width),
            perceptron: (config.inner > 0).then(|| {
                (
                    Dense::new(layout, &format!("{name}.inner"), width, config.inner),
                    Dense::new(layout, &format!("{name}.outer"), config.inner, width),
                    LayerNorm::new(layout, &format!("{name}.inner_norm"), width),
                )
            }),
            heads: config.heads as i64,
        }
    }

    /// Number of heads.
    pub fn heads(&self) -> usize {
        self.heads as usize
    }

    /// `[T, S, D]` → `[T, keep, D]`: only the first `keep` tokens are asked for, all are attended to.
    fn forward(&self, parameters: &Parameters, tokens: &Tensor, keep: i64) -> Tensor {
        let asking = tokens.narrow(1, 0, keep);
        let heads = |values: Tensor| {
            let size = values.size();
            values
                .view([size[0], size[1], self.heads, size[2] / self.heads])
                .transpose(1, 2)
        };
        let query = heads(self.query.forward(parameters, &asking));
        let key = heads(self.key.forward(parameters, tokens));
        let value = heads(self.value.forward(parameters, tokens));
        let scale = 1.0 / (query.size()[3] as f64).sqrt();
        let attention = (query * scale)
            .matmul(&key.transpose(2, 3))
            .softmax(-1, Kind::Float);
        let mixed = attention.matmul(&value).transpose(1, 2).flatten(2, 3);
        let mixed = self.output.forward(parameters, &mixed);
        let tokens = self.attention_norm.forward(parameters, &(asking + mixed));
        let Some((inner, outer, norm)) = &self.perceptron else {
            return tokens;
        };
        let hidden = inner.forward(parameters, &tokens).relu();
        norm.forward(parameters, &(&tokens + outer.forward(parameters, &hidden)))
    }
}

/// A stack of encoder layers over weight tokens and sample tokens alike.
#[derive(Clone, Debug)]
pub struct Encoder {
    /// From first to last.
    pub layers: Vec<EncoderLayer>,
}

impl Encoder {
    /// Glorot-uniform weights, zero biases.
    pub fn new(layout: &mut ParameterLayout, name: &str, config: &EncoderConfig) -> Encoder {
        let layers = (0..config.layers)
            .map(|index| EncoderLayer::new(layout, &format!("{name}.layer{}", index + 1), config))
            .collect();
        Encoder { layers }
    }

    /// `[T, S, D]` → the first `outputs` tokens of the last layer, `[T, outputs, D]`.
    pub fn forward(&self, parameters: &Parameters, tokens: &Tensor, outputs: i64) -> Tensor {
        let last = self.layers.len() - 1;
        self.layers
            .iter()
            .enumerate()
            .fold(tokens.shallow_clone(), |tokens, (index, layer)| {
                let keep = if index == last {
                    outputs
                } else {
                    tokens.size()[1]
                };
                layer.forward(parameters, &tokens, keep)
            })
    }
}
