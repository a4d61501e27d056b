//! The Transformers of the weight generators (Fig. 2, Fig. 5): no causal mask and no positional encoding.

use tch::Tensor;

use crate::model::cnn::block::leaky_relu;
use crate::model::generator::attention::{Attention, AttentionConfig};
use crate::model::layers::{Dense, LayerNorm};
use crate::model::parameters::{ParameterLayout, Parameters};
use crate::model::part_cost::PartCost;
use crate::model::pass::Hooks;
use crate::settings::generator::InnerNonlinearity;

/// Sizes of a stack of Transformer layers.
#[derive(Clone, Copy, Debug)]
pub struct StackConfig {
    /// Token width D.
    pub width: usize,
    /// Token width of the memory that a decoder attends to; none for an encoder.
    pub memory_width: Option<usize>,
    /// Number of layers.
    pub layers: usize,
    /// Self-attention and cross-attention.
    pub attention: AttentionConfig,
    /// Width of the inner fully-connected layer; 0 leaves this sublayer out.
    pub inner: usize,
    /// Nonlinearity of the inner layer.
    pub nonlinearity: InnerNonlinearity,
    /// Whether the inner layer of the last Transformer layer has no nonlinearity.
    pub skip_last_nonlinearity: bool,
    /// Dropout probability of the outputs of sublayers.
    pub dropout: f64,
    /// Normalisation before each sublayer and after the last layer, instead of after each residual.
    pub pre_norm: bool,
}

/// What the tokens of a layer attend to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// Added to the scores of self-attention, `[T, 1, 1, S]`.
    pub mask: Option<&'a Tensor>,
    /// Tokens that a decoder attends to, `[T, M, D']`.
    pub memory: Option<&'a Tensor>,
    /// Added to the scores of cross-attention, `[T, 1, 1, M]`.
    pub memory_mask: Option<&'a Tensor>,
    /// Optional parts of the forward pass.
    pub hooks: Hooks<'a>,
}

/// A Transformer layer: self-attention; in a decoder, cross-attention; and, unless `inner` is 0, a two-layer
/// perceptron. Each has a residual connection and a normalisation.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Self-attention.
    pub attention: Attention,
    attention_norm: LayerNorm,
    /// Attention to the memory, in a decoder.
    pub cross: Option<(Attention, LayerNorm)>,
    /// The two layers of the perceptron and its normalisation.
    pub perceptron: Option<(Dense, Dense, LayerNorm)>,
    nonlinearity: Option<InnerNonlinearity>,
    dropout: f64,
    pre_norm: bool,
}

impl Layer {
    fn new(layout: &mut ParameterLayout, name: &str, config: &StackConfig, last: bool) -> Layer {
        let width = config.width;
        let mut attention = |name: &str, memory_width: usize| {
            (
                Attention::new(layout, name, &config.attention, width, memory_width),
                LayerNorm::new(layout, &format!("{name}_norm"), width),
            )
        };
        let (self_attention, attention_norm) = attention(&format!("{name}.attention"), width);
        let cross = config
            .memory_width
            .map(|memory_width| attention(&format!("{name}.cross_attention"), memory_width));
        let perceptron = (config.inner > 0).then(|| {
            (
                Dense::new(layout, &format!("{name}.inner"), width, config.inner),
                Dense::new(layout, &format!("{name}.outer"), config.inner, width),
                LayerNorm::new(layout, &format!("{name}.inner_norm"), width),
            )
        });
        Layer {
            attention: self_attention,
            attention_norm,
            cross,
            perceptron,
            nonlinearity: (!last || !config.skip_last_nonlinearity).then_some(config.nonlinearity),
            dropout: config.dropout,
            pre_norm: config.pre_norm,
        }
    }

    /// `[T, S, D]` → `[T, outputs, D]`: outputs of the first `outputs` tokens, which attend to all S tokens.
    fn forward(
        &self,
        parameters: &Parameters,
        tokens: &Tensor,
        outputs: i64,
        context: Context,
    ) -> Tensor {
        let hooks = context.hooks;
        let residual = tokens.narrow(1, 0, outputs);
        let attend = |normed: &Tensor| {
            let queries = normed.narrow(1, 0, outputs);
            let attention = &self.attention;
            let output = attention.forward(parameters, &queries, normed, context.mask, hooks);
            hooks.drop(self.dropout, output)
        };
        let mut tokens = if self.pre_norm {
            residual + attend(&self.attention_norm.forward(parameters, tokens))
        } else {
            self.attention_norm
                .forward(parameters, &(residual + attend(tokens)))
        };
        if let (Some((cross, norm)), Some(memory)) = (&self.cross, context.memory) {
            tokens = self.sublayer(parameters, norm, tokens, hooks, |tokens| {
                cross.forward(parameters, tokens, memory, context.memory_mask, hooks)
            });
        }
        if let Some((inner, outer, norm)) = &self.perceptron {
            tokens = self.sublayer(parameters, norm, tokens, hooks, |tokens| {
                let hidden = self.inner_nonlinearity(inner.forward(parameters, tokens));
                outer.forward(parameters, &hidden)
            });
        }
        tokens
    }

    /// The nonlinearity between the layers of the perceptron.
    fn inner_nonlinearity(&self, hidden: Tensor) -> Tensor {
        match self.nonlinearity {
            Some(InnerNonlinearity::Relu) => hidden.relu(),
            Some(InnerNonlinearity::LeakyRelu) => leaky_relu(&hidden),
            Some(InnerNonlinearity::Gelu) => hidden.gelu("none"),
            None => hidden,
        }
    }

    /// Applies `map` with dropout, residual connection and normalisation.
    fn sublayer(
        &self,
        parameters: &Parameters,
        norm: &LayerNorm,
        tokens: Tensor,
        hooks: Hooks,
        map: impl Fn(&Tensor) -> Tensor,
    ) -> Tensor {
        let map = |tokens: &Tensor| hooks.drop(self.dropout, map(tokens));
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
    /// Registers Glorot-uniform weights and zero biases.
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

    /// Cost of one sequence of `tokens`, of which the first `outputs` are computed by the last layer, with `memory`
    /// tokens for cross-attention.
    pub fn cost(
        &self,
        layout: &ParameterLayout,
        tokens: usize,
        outputs: usize,
        memory: usize,
    ) -> PartCost {
        let layer_cost = |(index, layer): (usize, &Layer)| {
            let last = index + 1 == self.layers.len();
            let queries = if last { outputs } else { tokens };
            let attention = layer.attention.cost(layout, queries, tokens);
            let cross = layer.cross.iter();
            let cross = cross.map(|(cross, _)| cross.cost(layout, queries, memory));
            // The output of the ReLU replaces its input; residual and normalisation follow.
            let perceptron = layer.perceptron.iter().map(|(inner, outer, _)| {
                let norm = PartCost::elementwise(outer.outputs(layout));
                (inner.cost(layout) + outer.cost(layout) + norm) * queries
            });
            attention + cross.sum() + perceptron.sum()
        };
        self.layers.iter().enumerate().map(layer_cost).sum()
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
            let count = match index + 1 == self.layers.len() {
                true => outputs,
                false => tokens.size()[1],
            };
            tokens = layer.forward(parameters, &tokens, count, context);
        }
        match &self.final_norm {
            Some(norm) => norm.forward(parameters, &tokens),
            None => tokens,
        }
    }
}
