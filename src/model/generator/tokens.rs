//! Sample tokens and weight tokens (Fig. 2).
//!
//! Token width D = d + max(slice length, feature length). A sample token is `[ξ(c) | features | 0]`. A weight token is
//! `[μ(i) | 0]`, or with a support gradient `[μ(i) | gradient of slice i | 0]`. The generated slice is read from the
//! output weight token at the positions after μ.

use tch::Tensor;

use crate::model::parameters::{Initial, ParameterId, ParameterKind, ParameterLayout, Parameters};
use crate::model::tensor_sizes::sizes;

/// ξ and μ and their positions in a token.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// ξ(c), `[n, d]`; with unlabelled samples `[n + 1, d]`, ξ̂ last.
    pub labels: ParameterId,
    /// μ(i), `[slices, d]`.
    pub placeholders: ParameterId,
    /// d.
    pub label_dim: usize,
    /// Number of weight slices.
    pub slices: usize,
    /// Length of a slice.
    pub slice_length: usize,
    /// Number of features of a sample.
    pub features: usize,
}

impl Tokens {
    /// Registers ξ with `labels` rows, and μ, both drawn from N(0, 1).
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

    /// Width of a sample token without padding.
    pub fn sample_width(&self) -> usize {
        self.label_dim + self.features
    }

    /// Width of a weight token without padding.
    pub fn weight_width(&self) -> usize {
        self.label_dim + self.slice_length
    }

    /// D, the width of both in one sequence.
    pub fn joint_width(&self) -> usize {
        self.sample_width().max(self.weight_width())
    }

    /// Features `[T, N, f]` and labels `[T, N]` → sample tokens `[T, N, width]`.
    pub fn sample_tokens(
        &self,
        parameters: &Parameters,
        features: &Tensor,
        labels: &Tensor,
        width: usize,
    ) -> Tensor {
        let [tasks, samples] = sizes(labels, "support labels");
        let labels = parameters
            .get(self.labels)
            .index_select(0, &labels.view([-1]))
            .view([tasks, samples, self.label_dim as i64]);
        Tensor::cat(&[&labels, features], 2)
            .constant_pad_nd([0, (width - self.sample_width()) as i64])
    }

    /// Weight tokens `[T, slices, width]`, with the support gradients of the slices, `[T, slices, slice length]`, if
    /// given.
    pub fn weight_tokens(
        &self,
        parameters: &Parameters,
        tasks: i64,
        width: usize,
        support_gradient: Option<&Tensor>,
    ) -> Tensor {
        let placeholders = parameters.get(self.placeholders);
        let for_all_tasks = |values: Tensor| values.unsqueeze(0).expand([tasks, -1, -1], false);
        let pad = |values: &Tensor, unpadded: usize| {
            values.constant_pad_nd([0, (width - unpadded) as i64])
        };
        match support_gradient {
            None => for_all_tasks(pad(placeholders, self.label_dim)),
            Some(gradient) => {
                let placeholders = for_all_tasks(placeholders.shallow_clone());
                pad(
                    &Tensor::cat(&[&placeholders, gradient], 2),
                    self.weight_width(),
                )
            }
        }
    }

    /// Output tokens `[T, slices, D]` → slices `[T, slices, slice length]`.
    pub fn slices_of(&self, outputs: &Tensor) -> Tensor {
        outputs.narrow(2, self.label_dim as i64, self.slice_length as i64)
    }
}
