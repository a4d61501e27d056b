//! The Transformers of the weight generator (Fig. 2, Fig. 5): no causal mask, no positions.
use tch::Tensor;

use crate::model::cnn::block::leaky_relu;
use crate::model::parameters::{Dense, LayerNorm, ParameterLayout, Parameters};
use crate::model::part_cost::PartCost;
use crate::model::pass::Hooks;
use crate::settings::generator::{AttentionKind, InnerNonlinearity};

/// Sizes of one stack of layers.
#[derive(Clone, Copy, Debug)]
pub struct StackConfig {
    /// Token width D.
    pub width: usize,
    /// Width of the tokens that a decoder's cross-attention reads; none for an encoder.
    pub memory_width: Option<usize>,
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
    /// How scores become shares of attention.
    pub attention: AttentionKind,
    /// Of the inner layer.
    pub nonlinearity: InnerNonlinearity,
    /// Whether the last layer's inner layer has none.
    pub skip_last_nonlinearity: bool,
    /// Probability that training drops an element of a sublayer's output.
    pub dropout: f64,
    /// Norm before each sublayer, and one after the last layer, instead of after each residual.
    pub pre_norm: bool,
}

/// Multi-head attention of some tokens to others.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Makes the queries.
    pub query: Dense,
    /// Makes the keys.
    pub key: Dense,
    /// Makes the values.
    pub value: Dense,
    /// Mixes the heads.
    pub output: Dense,
    heads: i64,
    kind: AttentionKind,
    dropout: f64,
}

impl Attention {
    fn new(
        layout: &mut ParameterLayout,
        name: &str,
        config: &StackConfig,
        memory_width: usize,
    ) -> Attention {
        let mut dense =
            |part, inputs, outputs| Dense::new(layout, &format!("{name}.{part}"), inputs, outputs);
        Attention {
            query: dense("query", config.width, config.query_key),
            key: dense("key", memory_width, config.query_key),
            value: dense("value", memory_width, config.value),
            output: dense("output", config.value, config.width),
            heads: config.heads as i64,
            kind: config.attention,
            dropout: config.dropout,
        }
    }

    /// Number of heads.
    pub fn heads(&self) -> usize {
        self.heads as usize
    }

    /// Of `asking` tokens that attend to `memory` tokens, the residual and the norm that follow included.
    fn cost(&self, layout: &ParameterLayout, asking: usize, memory: usize) -> PartCost {
        let rows = |part: Dense, rows: usize| part.cost(layout) * rows;
        let width = |part: Dense| layout.spec(part.bias).len();
        let mixed = PartCost {
            multiply_adds: asking * memory * (width(self.query) + width(self.value)),
            kept: asking * width(self.value),
        };
        rows(self.query, asking)
            + rows(self.key, memory)
            + rows(self.value, memory)
            + mixed
            + rows(self.output, asking)
            + PartCost::of_map(asking * width(self.output))
    }

    /// `asking`, `[T, A, D]`, to `memory`, `[T, S, D']` → `[T, A, D]`. What `seen` adds to the scores, `[T, 1, 1, S]`,
    /// is −∞ for a token that nobody may attend to.
    fn forward(
        &self,
        parameters: &Parameters,
        asking: &Tensor,
        memory: &Tensor,
        seen: Option<&Tensor>,
        hooks: Hooks,
    ) -> Tensor {
        let heads = |values: Tensor| {
            let size = values.size();
            values
                .view([size[0], size[1], self.heads, size[2] / self.heads])
                .transpose(1, 2)
        };
        let query = heads(self.query.forward(parameters, asking));
        let key = heads(self.key.forward(parameters, memory));
        let value = heads(self.value.forward(parameters, memory));
        if let Some(record) = hooks.attention {
            record.note(self.query.weight, &self.shares(&query, &key, seen));
        }
        let mixed = match self.kind {
            AttentionKind::Softmax => Tensor::scaled_dot_product_attention(
                &query, &key, &value, seen, 0.0, false, None, false,
            ),
            AttentionKind::Sigmoid => self.shares(&query, &key, seen).matmul(&value),
        };
        let mixed = mixed.transpose(1, 2).flatten(2, 3);
        hooks.drop(self.dropout, self.output.forward(parameters, &mixed))
    }

    /// Of each query, `[T, heads, A, width]`, to each key, `[T, heads, S, width]`: `[T, heads, A, S]`.
    fn shares(&self, query: &Tensor, key: &Tensor, seen: Option<&Tensor>) -> Tensor {
        let scale = 1.0 / (query.size()[3] as f64).sqrt();
        let scores = (query * scale).matmul(&key.transpose(2, 3));
        let scores = seen.map_or_else(|| scores.shallow_clone(), |seen| &scores + seen);
        match self.kind {
            AttentionKind::Softmax => scores.softmax(-1, None),
            AttentionKind::Sigmoid => scores.sigmoid(),
        }
    }
}

/// What a layer's tokens may attend to beside themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// Added to the scores of self-attention, `[T, 1, 1, S]`.
    pub seen: Option<&'a Tensor>,
    /// Tokens that a decoder reads, `[T, M, D']`.
    pub memory: Option<&'a Tensor>,
    /// Added to the scores of cross-attention, `[T, 1, 1, M]`.
    pub memory_seen: Option<&'a Tensor>,
    /// What goes along.
    pub hooks: Hooks<'a>,
}

/// Self-attention, in a decoder cross-attention, and, unless `inner` is 0, a two-layer perceptron: each with a
/// residual and a norm.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Self-attention.
    pub attention: Attention,
    attention_norm: LayerNorm,
    /// Attention to the memory, in a decoder.
    pub cross: Option<(Attention, LayerNorm)>,
    /// The perceptron's two layers and its norm.
    pub perceptron: Option<(Dense, Dense, LayerNorm)>,
    /// None where it is left out.
    nonlinearity: Option<InnerNonlinearity>,
    dropout: f64,
    pre_norm: bool,
}

impl Layer {
    fn new(layout: &mut ParameterLayout, name: &str, config: &StackConfig, last: bool) -> Layer {
        let width = config.width;
        let attention = Attention::new(layout, &format!("{name}.attention"), config, width);
        let attention_norm = LayerNorm::new(layout, &format!("{name}.attention_norm"), width);
        let cross = config.memory_width.map(|memory| {
            let cross = format!("{name}.cross_attention");
            (
                Attention::new(layout, &cross, config, memory),
                LayerNorm::new(layout, &format!("{cross}_norm"), width),
            )
        });
        let perceptron = (config.inner > 0).then(|| {
            (
                Dense::new(layout, &format!("{name}.inner"), width, config.inner),
                Dense::new(layout, &format!("{name}.outer"), config.inner, width),
                LayerNorm::new(layout, &format!("{name}.inner_norm"), width),
            )
        });
        Layer {
            attention,
            attention_norm,
            cross,
            perceptron,
            nonlinearity: (!last || !config.skip_last_nonlinearity).then_some(config.nonlinearity),
            dropout: config.dropout,
            pre_norm: config.pre_norm,
        }
    }

    /// `[T, S, D]` → `[T, keep, D]`: only the first `keep` tokens are asked for, all are attended to.
    fn forward(
        &self,
        parameters: &Parameters,
        tokens: &Tensor,
        keep: i64,
        context: Context,
    ) -> Tensor {
        let asking = tokens.narrow(1, 0, keep);
        let attend = |normed: &Tensor| {
            let asking = normed.narrow(1, 0, keep);
            self.attention
                .forward(parameters, &asking, normed, context.seen, context.hooks)
        };
        let mut tokens = if self.pre_norm {
            asking + attend(&self.attention_norm.forward(parameters, tokens))
        } else {
            self.attention_norm
                .forward(parameters, &(asking + attend(tokens)))
        };
        if let (Some((cross, norm)), Some(memory)) = (&self.cross, context.memory) {
            tokens = self.sublayer(parameters, norm, tokens, |tokens| {
                let seen = context.memory_seen;
                cross.forward(parameters, tokens, memory, seen, context.hooks)
            });
        }
        if let Some((inner, outer, norm)) = &self.perceptron {
            tokens = self.sublayer(parameters, norm, tokens, |tokens| {
                let hidden = self.bend(inner.forward(parameters, tokens));
                let output = outer.forward(parameters, &hidden);
                context.hooks.drop(self.dropout, output)
            });
        }
        tokens
    }

    /// The nonlinearity between the layers of the perceptron.
    fn bend(&self, hidden: Tensor) -> Tensor {
        match self.nonlinearity {
            Some(InnerNonlinearity::Relu) => hidden.relu(),
            Some(InnerNonlinearity::LeakyRelu) => leaky_relu(&hidden),
            Some(InnerNonlinearity::Gelu) => hidden.gelu("none"),
            None => hidden,
        }
    }

    /// Residual and norm around `map`.
    fn sublayer(
        &self,
        parameters: &Parameters,
        norm: &LayerNorm,
        tokens: Tensor,
        map: impl Fn(&Tensor) -> Tensor,
    ) -> Tensor {
        if self.pre_norm {
            let change = map(&norm.forward(parameters, &tokens));
            return tokens + change;
        }
        let change = map(&tokens);
        norm.forward(parameters, &(tokens + change))
    }
}

/// A stack of encoder or decoder layers.
#[derive(Clone, Debug)]
pub struct Stack {
    /// From first to last.
    pub layers: Vec<Layer>,
    final_norm: Option<LayerNorm>,
}

impl Stack {
    /// Glorot-uniform weights, zero biases.
    pub fn new(layout: &mut ParameterLayout, name: &str, config: &StackConfig) -> Stack {
        let layers = (0..config.layers)
            .map(|index| {
                let last = index + 1 == config.layers;
                Layer::new(layout, &format!("{name}.layer{}", index + 1), config, last)
            })
            .collect();
        let final_norm = config
            .pre_norm
            .then(|| LayerNorm::new(layout, &format!("{name}.final_norm"), config.width));
        Stack { layers, final_norm }
    }

    /// Of one sequence of `tokens`, of which the first `outputs` are asked for, beside `memory` tokens.
    pub fn cost(
        &self,
        layout: &ParameterLayout,
        tokens: usize,
        outputs: usize,
        memory: usize,
    ) -> PartCost {
        let of_layer = |(index, layer): (usize, &Layer)| {
            let last = index + 1 == self.layers.len();
            let asking = if last { outputs } else { tokens };
            let attention = layer.attention.cost(layout, asking, tokens);
            let cross = layer.cross.iter();
            let cross = cross.map(|(cross, _)| cross.cost(layout, asking, memory));
            // What the ReLU leaves takes the place of what it was given; residual and norm follow.
            let perceptron = layer.perceptron.iter().map(|(inner, outer, _)| {
                let norm = PartCost::of_map(layout.spec(outer.bias).len());
                (inner.cost(layout) + outer.cost(layout) + norm) * asking
            });
            attention + cross.sum() + perceptron.sum()
        };
        self.layers.iter().enumerate().map(of_layer).sum()
    }

    /// `[T, S, D]` → the first `outputs` tokens of the last layer, `[T, outputs, D]`.
    pub fn forward(
        &self,
        parameters: &Parameters,
        tokens: &Tensor,
        outputs: i64,
        context: Context,
    ) -> Tensor {
        let mut tokens = tokens.shallow_clone();
        for (index, layer) in self.layers.iter().enumerate() {
            let keep = match index + 1 == self.layers.len() {
                true => outputs,
                false => tokens.size()[1],
            };
            tokens = layer.forward(parameters, &tokens, keep, context);
        }
        match &self.final_norm {
            Some(norm) => norm.forward(parameters, &tokens),
            None => tokens,
        }
    }
}
