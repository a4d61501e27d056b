//! Sample tokens and slice placeholders (Fig. 2).
//!
//! Token width D = d + max(slice length, feature length). A weight token is `[μ(i) | 0]`, or with a beginning for slice i
//! `[μ(i) | beginning | 0]`, a sample token `[ξ(c) | features | 0]`; the generated slice is read from the weight
//! token at the places after μ.
use tch::Tensor;

use crate::model::parameters::{Initial, ParameterId, ParameterKind, ParameterLayout, Parameters};

/// ξ and μ, and where they lie in a token.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// ξ(c), `[n, d]`; with unlabelled samples `[n + 1, d]`, ξ̂ last.
    pub labels: ParameterId,
    /// μ(i), `[slices, d]`
    pub placeholders: ParameterId,
    /// d
    pub label_dim: usize,
    /// Number of weight slices.
    pub slices: usize,
    /// Length of a slice.
    pub slice_length: usize,
    /// Length of a sample's features.
    pub features: usize,
}

impl Tokens {
    /// ξ, of which there are `labels`, and μ start from N(0, 1).
    pub fn new(
        layout: &mut ParameterLayout,
        name: &str,
        labels: usize,
        label_dim: usize,
        (slices, slice_length): (usize, usize),
        features: usize,
    ) -> Tokens {
        let mut add = |part: &str, rows: usize| {
            let (name, shape) = (format!("{name}.{part}"), [rows as i64, label_dim as i64]);
            layout.add(name, &shape, ParameterKind::Embedding, Initial::Normal(1.0))
        };
        Tokens {
            labels: add("labels", labels),
            placeholders: add("placeholders", slices),
            label_dim,
            slices,
            slice_length,
            features,
        }
    }

    /// Width of a sample token that holds nothing else.
    pub fn sample_width(&self) -> usize {
        self.label_dim + self.features
    }

    /// Width of a weight token that holds nothing else.
    pub fn weight_width(&self) -> usize {
        self.label_dim + self.slice_length
    }

    /// D, where both go into one sequence.
    pub fn joint_width(&self) -> usize {
        self.sample_width().max(self.weight_width())
    }

    /// Features `[T, N, f]` and labels `[T, N]` → sample tokens `[T, N, width]`.
    pub fn samples(
        &self,
        parameters: &Parameters,
        features: &Tensor,
        labels: &Tensor,
        width: usize,
    ) -> Tensor {
        let (tasks, samples) = labels.size2().unwrap_or_default();
        let labels = parameters
            .get(self.labels)
            .index_select(0, &labels.view([-1]))
            .view([tasks, samples, self.label_dim as i64]);
        Tensor::cat(&[&labels, features], 2)
            .constant_pad_nd([0, (width - self.sample_width()) as i64])
    }

    /// Weight tokens `[T, slices, width]`; beginnings are `[T, slices, slice length]`.
    pub fn weights(
        &self,
        parameters: &Parameters,
        tasks: i64,
        width: usize,
        beginnings: Option<&Tensor>,
    ) -> Tensor {
        let placeholders = parameters.get(self.placeholders);
        let every_task = |values: Tensor| values.unsqueeze(0).expand([tasks, -1, -1], false);
        let pad = |values: &Tensor, held: usize| values.constant_pad_nd([0, (width - held) as i64]);
        match beginnings {
            None => every_task(pad(placeholders, self.label_dim)),
            Some(slices) => {
                let placeholders = every_task(placeholders.shallow_clone());
                pad(
                    &Tensor::cat(&[&placeholders, slices], 2),
                    self.weight_width(),
                )
            }
        }
    }

    /// Output tokens `[T, slices, D]` → slices `[T, slices, slice length]`.
    pub fn read(&self, outputs: &Tensor) -> Tensor {
        outputs.narrow(2, self.label_dim as i64, self.slice_length as i64)
    }
}
