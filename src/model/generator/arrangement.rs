//! Arrangements of Transformer stacks that map sample and weight tokens to output weight tokens: an encoder, an encoder
//! and a decoder, or separate stacks for samples and weights.

use tch::Tensor;

use crate::model::generator::attention::AttentionConfig;
use crate::model::generator::tokens::Tokens;
use crate::model::generator::transformer::{Context, Stack, StackConfig};
use crate::model::parameters::{ParameterLayout, Parameters};
use crate::model::part_cost::PartCost;
use crate::model::pass::Hooks;
use crate::settings::generator::{GeneratorKind, GeneratorOptions};

/// A Transformer from sample and weight tokens to output weight tokens.
#[derive(Clone, Debug)]
pub(crate) enum Transformer {
    /// One encoder over weight and sample tokens (Fig. 2).
    Joint(Stack),
    /// An encoder over weight and sample tokens, and a decoder over the same tokens with cross-attention to the
    /// encoder's output (Fig. 5).
    JointWithDecoder(Stack, Stack),
    /// An encoder over sample tokens, and a decoder over weight tokens with cross-attention to the encoder's output.
    Separate(Stack, Stack),
}

/// The inputs of a Transformer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransformerInput<'a> {
    /// Features of the samples, `[T, N, f]`.
    pub(crate) features: &'a Tensor,
    /// Labels of the samples, `[T, N]`.
    pub(crate) labels: &'a Tensor,
    /// Support gradients of the slices, `[T, slices, slice length]`.
    pub(crate) support_gradient: Option<&'a Tensor>,
    /// Added to the scores of samples, `[T, 1, 1, N]`: −∞ for hidden samples.
    pub(crate) mask: Option<&'a Tensor>,
    /// Optional parts of the forward pass.
    pub(crate) hooks: Hooks<'a>,
}

impl Transformer {
    pub(crate) fn new(
        layout: &mut ParameterLayout,
        name: &str,
        options: &GeneratorOptions,
        tokens: &Tokens,
    ) -> Transformer {
        let mut stack = |part: &str, width: usize, memory_width: Option<usize>| {
            let fraction = |fraction: f64| {
                let width = (width as f64 * fraction) as usize;
                width.max(1).next_multiple_of(options.heads)
            };
            let inner = options.inner_fraction;
            let config = StackConfig {
                width,
                memory_width,
                layers: options.layers,
                attention: AttentionConfig {
                    heads: options.heads,
                    query_key: fraction(options.query_key_fraction),
                    value: fraction(options.value_fraction),
                    kind: options.attention,
                },
                inner: if inner > 0.0 { fraction(inner) } else { 0 },
                nonlinearity: options.inner_nonlinearity,
                skip_last_nonlinearity: options.skip_last_nonlinearity,
                dropout: options.dropout,
                pre_norm: options.pre_norm,
            };
            Stack::new(layout, &format!("{name}.{part}"), &config)
        };
        let joint = tokens.joint_width();
        match options.kind {
            GeneratorKind::Encoder => Transformer::Joint(stack("encoder", joint, None)),
            GeneratorKind::EncoderDecoder => Transformer::JointWithDecoder(
                stack("encoder", joint, None),
                stack("decoder", joint, Some(joint)),
            ),
            GeneratorKind::Separate => {
                let samples = tokens.sample_width();
                Transformer::Separate(
                    stack("encoder", samples, None),
                    stack("decoder", tokens.weight_width(), Some(samples)),
                )
            }
        }
    }

    /// Widths of weight and sample tokens.
    pub(crate) fn token_widths(&self, tokens: &Tokens) -> (usize, usize) {
        match self {
            Transformer::Separate(..) => (tokens.weight_width(), tokens.sample_width()),
            _ => (tokens.joint_width(), tokens.joint_width()),
        }
    }

    /// Number of layers of each stack, and of heads.
    pub(crate) fn size(&self) -> (Vec<usize>, usize) {
        let stacks = match self {
            Transformer::Joint(encoder) => vec![encoder],
            Transformer::JointWithDecoder(encoder, decoder)
            | Transformer::Separate(encoder, decoder) => vec![encoder, decoder],
        };
        let layers = stacks.iter().map(|stack| stack.layers.len()).collect();
        let first = stacks[0].layers.first();
        (layers, first.map_or(0, |layer| layer.attention.heads()))
    }

    /// Cost per task.
    pub(crate) fn cost(&self, layout: &ParameterLayout, slices: usize, samples: usize) -> PartCost {
        let all = slices + samples;
        match self {
            Transformer::Joint(encoder) => encoder.cost(layout, all, slices, 0),
            Transformer::JointWithDecoder(encoder, decoder) => {
                encoder.cost(layout, all, all, 0) + decoder.cost(layout, all, slices, all)
            }
            Transformer::Separate(encoder, decoder) => {
                encoder.cost(layout, samples, samples, 0)
                    + decoder.cost(layout, slices, slices, samples)
            }
        }
    }

    /// Output weight tokens, `[T, slices, D]`.
    pub(crate) fn forward(
        &self,
        parameters: &Parameters,
        tokens: &Tokens,
        input: TransformerInput,
    ) -> Tensor {
        match self {
            Transformer::Joint(encoder) => joint(encoder, None, parameters, tokens, input),
            Transformer::JointWithDecoder(encoder, decoder) => {
                joint(encoder, Some(decoder), parameters, tokens, input)
            }
            Transformer::Separate(encoder, decoder) => {
                separate(encoder, decoder, parameters, tokens, input)
            }
        }
    }
}

/// Output weight tokens of stacks over a sequence of weight tokens and sample tokens.
fn joint(
    encoder: &Stack,
    decoder: Option<&Stack>,
    parameters: &Parameters,
    tokens: &Tokens,
    input: TransformerInput,
) -> Tensor {
    let TransformerInput {
        features,
        labels,
        support_gradient,
        mask,
        hooks,
    } = input;
    let (tasks, slices) = (labels.size()[0], tokens.slices as i64);
    let width = tokens.joint_width();
    let weights = tokens.weight_tokens(parameters, tasks, width, support_gradient);
    let samples = tokens.sample_tokens(parameters, features, labels, width);
    let sequence = Tensor::cat(&[weights, samples], 1);
    // Weight tokens come first and are never masked.
    let mask = mask.map(|mask| mask.constant_pad_nd([slices, 0]));
    let context = Context {
        mask: mask.as_ref(),
        hooks,
        ..Context::default()
    };
    let Some(decoder) = decoder else {
        return encoder.forward(parameters, &sequence, slices, context);
    };
    let memory = encoder.forward(parameters, &sequence, sequence.size()[1], context);
    let context = Context {
        memory: Some(&memory),
        memory_mask: mask.as_ref(),
        ..context
    };
    decoder.forward(parameters, &sequence, slices, context)
}

/// Output weight tokens of a decoder over weight tokens, with cross-attention to an encoder over sample tokens.
fn separate(
    encoder: &Stack,
    decoder: &Stack,
    parameters: &Parameters,
    tokens: &Tokens,
    input: TransformerInput,
) -> Tensor {
    let TransformerInput {
        features,
        labels,
        support_gradient,
        mask,
        hooks,
    } = input;
    let (tasks, slices) = (labels.size()[0], tokens.slices as i64);
    let samples = tokens.sample_tokens(parameters, features, labels, tokens.sample_width());
    let context = Context {
        mask,
        hooks,
        ..Context::default()
    };
    let memory = encoder.forward(parameters, &samples, samples.size()[1], context);
    let width = tokens.weight_width();
    let weights = tokens.weight_tokens(parameters, tasks, width, support_gradient);
    let context = Context {
        memory: Some(&memory),
        memory_mask: mask,
        hooks,
        ..Context::default()
    };
    decoder.forward(parameters, &weights, slices, context)
}
