//! From sample and weight tokens to the output tokens of the weight slices: encoder, encoder-decoder, separate.
use tch::Tensor;

use crate::model::generator::tokens::Tokens;
use crate::model::generator::transformer::{Context, Stack, StackConfig};
use crate::model::parameters::{ParameterLayout, Parameters};
use crate::model::part_cost::PartCost;
use crate::model::pass::Hooks;
use crate::settings::generator::{GeneratorKind, GeneratorOptions};

/// The way from tokens to output tokens.
#[derive(Clone, Debug)]
pub(crate) enum Transformer {
    /// One encoder over weight and sample tokens.
    Joint(Stack),
    /// The same, and a decoder over the same tokens that reads what the encoder made of them (Fig. 5).
    JointWithDecoder(Stack, Stack),
    /// Samples are encoded, weight tokens decoded by cross-attention.
    Separate(Stack, Stack),
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
                heads: options.heads,
                query_key: fraction(options.query_key_fraction),
                value: fraction(options.value_fraction),
                inner: if inner > 0.0 { fraction(inner) } else { 0 },
                attention: options.attention,
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

    /// Layers of each stack, and heads.
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

    /// Of one task.
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

    /// Output tokens of the weight slices, `[T, slices, D]`. `beginnings`: see [`Tokens::weights`]. `seen`, `[T, 1, 1, N]`,
    /// is −∞ for masked samples.
    pub(crate) fn forward(
        &self,
        parameters: &Parameters,
        tokens: &Tokens,
        (features, labels): (&Tensor, &Tensor),
        beginnings: Option<&Tensor>,
        seen: Option<&Tensor>,
        hooks: Hooks,
    ) -> Tensor {
        let (tasks, slices) = (labels.size()[0], tokens.slices as i64);
        let (encoder, decoder) = match self {
            Transformer::Joint(encoder) => (encoder, None),
            Transformer::JointWithDecoder(encoder, decoder) => (encoder, Some(decoder)),
            Transformer::Separate(encoder, decoder) => {
                let samples = tokens.samples(parameters, features, labels, tokens.sample_width());
                let context = Context {
                    seen,
                    hooks,
                    ..Context::default()
                };
                let memory = encoder.forward(parameters, &samples, samples.size()[1], context);
                let weights = tokens.weights(parameters, tasks, tokens.weight_width(), beginnings);
                let context = Context {
                    memory: Some(&memory),
                    memory_seen: seen,
                    hooks,
                    ..Context::default()
                };
                return decoder.forward(parameters, &weights, slices, context);
            }
        };
        let width = tokens.joint_width();
        let weights = tokens.weights(parameters, tasks, width, beginnings);
        let samples = tokens.samples(parameters, features, labels, width);
        let sequence = Tensor::cat(&[weights, samples], 1);
        // Weight tokens come first and are never masked.
        let seen = seen.map(|seen| seen.constant_pad_nd([slices, 0]));
        let context = Context {
            seen: seen.as_ref(),
            hooks,
            ..Context::default()
        };
        let Some(decoder) = decoder else {
            return encoder.forward(parameters, &sequence, slices, context);
        };
        let memory = encoder.forward(parameters, &sequence, sequence.size()[1], context);
        let context = Context {
            memory: Some(&memory),
            memory_seen: seen.as_ref(),
            ..context
        };
        decoder.forward(parameters, &sequence, slices, context)
    }
}
