//! Multi-head attention: scoring, attention weights and cost of every [`AttentionKind`].
//!
//! A new kind of attention is a variant of [`AttentionKind`], with its answer to [`AttentionKind::is_average`], and an
//! arm in `weights_from_scores`.

use tch::Tensor;

use crate::model::layers::Dense;
use crate::model::parameters::{ParameterId, ParameterLayout, Parameters};
use crate::model::part_cost::PartCost;
use crate::model::pass::Hooks;
use crate::settings::generator::AttentionKind;

/// Sizes and kind of an attention.
#[derive(Clone, Copy, Debug)]
pub struct AttentionConfig {
    /// Number of heads.
    pub heads: usize,
    /// Width of queries and keys, all heads combined.
    pub query_key: usize,
    /// Width of values, all heads combined.
    pub value: usize,
    /// How scores become attention weights.
    pub kind: AttentionKind,
}

/// Multi-head attention.
#[derive(Clone, Debug)]
pub struct Attention {
    /// Computes the queries.
    pub query: Dense,
    /// Computes the keys.
    pub key: Dense,
    /// Computes the values.
    pub value: Dense,
    /// Mixes the heads.
    pub output: Dense,
    heads: i64,
    kind: AttentionKind,
}

/// The end of the name of an attention's query matrix.
const QUERY_MATRIX: &str = ".query.weight";

impl Attention {
    /// Attention of tokens of this width to tokens of width `memory_width`.
    pub(crate) fn new(
        layout: &mut ParameterLayout,
        name: &str,
        config: &AttentionConfig,
        width: usize,
        memory_width: usize,
    ) -> Attention {
        let mut dense =
            |part, inputs, outputs| Dense::new(layout, &format!("{name}.{part}"), inputs, outputs);
        Attention {
            query: dense("query", width, config.query_key),
            key: dense("key", memory_width, config.query_key),
            value: dense("value", memory_width, config.value),
            output: dense("output", config.value, width),
            heads: config.heads as i64,
            kind: config.kind,
        }
    }

    /// Number of heads.
    pub fn heads(&self) -> usize {
        self.heads as usize
    }

    /// Cost of the attention of `queries` tokens to `keys` tokens, with the residual and the normalisation that follow.
    pub(crate) fn cost(&self, layout: &ParameterLayout, queries: usize, keys: usize) -> PartCost {
        let rows = |part: Dense, rows: usize| part.cost(layout) * rows;
        let mixing = PartCost {
            multiply_adds: queries
                * keys
                * (self.query.outputs(layout) + self.value.outputs(layout)),
            activations: queries * self.value.outputs(layout),
        };
        rows(self.query, queries)
            + rows(self.key, keys)
            + rows(self.value, keys)
            + mixing
            + rows(self.output, queries)
            + PartCost::elementwise(queries * self.output.outputs(layout))
    }

    /// Attention of `tokens`, `[T, A, D]`, to `memory`, `[T, S, D']` → `[T, A, D]`. `mask`, `[T, 1, 1, S]`, is added to
    /// the scores and is −∞ for tokens that receive no attention.
    pub(crate) fn forward(
        &self,
        parameters: &Parameters,
        tokens: &Tensor,
        memory: &Tensor,
        mask: Option<&Tensor>,
        hooks: Hooks,
    ) -> Tensor {
        let split_heads = |values: Tensor| {
            let size = values.size();
            values
                .view([size[0], size[1], self.heads, size[2] / self.heads])
                .transpose(1, 2)
        };
        let query = split_heads(self.query.forward(parameters, tokens));
        let key = split_heads(self.key.forward(parameters, memory));
        let value = split_heads(self.value.forward(parameters, memory));
        let weights = || weights_from_scores(self.kind, &scores(&query, &key, mask));
        if let Some(record) = hooks.attention {
            record.record(self.query.weight, &weights());
        }
        let mixed = match self.kind {
            // libtorch's fused kernel.
            AttentionKind::Softmax => Tensor::scaled_dot_product_attention(
                &query, &key, &value, mask, 0.0, false, None, false,
            ),
            AttentionKind::Sigmoid => weights().matmul(&value),
        };
        let mixed = mixed.transpose(1, 2).flatten(2, 3);
        self.output.forward(parameters, &mixed)
    }
}

/// The name of the attention with this query matrix, e.g. `generator.logits.encoder.layer1.attention`.
pub(crate) fn attention_name(layout: &ParameterLayout, query_matrix: ParameterId) -> &str {
    let name = &layout.spec(query_matrix).name;
    name.strip_suffix(QUERY_MATRIX).unwrap_or(name)
}

/// Scaled dot products of queries, `[T, heads, A, width]`, and keys, `[T, heads, S, width]`, plus the mask:
/// `[T, heads, A, S]`.
fn scores(query: &Tensor, key: &Tensor, mask: Option<&Tensor>) -> Tensor {
    let scale = 1.0 / (query.size()[3] as f64).sqrt();
    let scores = (query * scale).matmul(&key.transpose(2, 3));
    match mask {
        Some(mask) => scores + mask,
        None => scores,
    }
}

/// Attention weights from scores, both `[T, heads, A, S]`.
fn weights_from_scores(kind: AttentionKind, scores: &Tensor) -> Tensor {
    match kind {
        AttentionKind::Softmax => scores.softmax(-1, None),
        AttentionKind::Sigmoid => scores.sigmoid(),
    }
}
